// SPDX-License-Identifier: LGPL-2.1-or-later
// Rules of udev (udev(7)) that bind a device at each boot.
//
// The file is replaced by rename(), so that after a power cut there is the old rule or the new
// one.  udev sees the change by itself: nothing has to be reloaded.
#include "vfio-glue/host/boot_rules.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "hypercall/unique_fd.h"

namespace pviommu::host {
namespace {

constexpr std::string_view kOverride = "ATTR{driver_override}=\"";

std::string file_of(const HostRoots& roots, PciAddress function) {
  return roots.udev_rules + "/80-pviommu-" + to_string(function) + ".rules";
}

/// Its lines; no line has a single quote.
std::array<std::string, 2> rule(PciAddress function, const std::string& driver) {
  const std::string address = to_string(function);
  return {"# Made by pviommu bind --persist; pviommu unbind --persist " + address + " removes it.",
          "ACTION==\"add\", SUBSYSTEM==\"pci\", KERNEL==\"" + address + "\", " + std::string(kOverride) + driver + "\"" +
              (driver == "none" ? std::string() : ", RUN{builtin}+=\"kmod load " + driver + "\"") +
              ", RUN+=\"" PVIOMMU_BINDIR "/pviommu bind --driver=" + driver + " " + address + "\""};
}

/// The text, or nothing when there is no such file.
std::optional<std::string> text_of(const std::string& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Error said(int code, const std::string& path) {
  const Error error{code, "write"};
  return error.with_sentence(path + ": " + to_string(error) +
                             (code == EACCES || code == EROFS ? "; --persist needs root and an /etc that can be written"
                                                              : ""));
}

Status replace(const std::string& path, const std::string& text) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code made;
  std::filesystem::create_directories(folder, made);
  const std::string fresh = path + ".new";
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return said(errno, path);
  const ssize_t put = ::write(fd.get(), text.data(), text.size());
  const int failed = put < 0 ? errno : static_cast<std::size_t>(put) != text.size() ? ENOSPC : ::fsync(fd.get()) != 0 ? errno : 0;
  if (failed == 0 && ::rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int code = failed != 0 ? failed : errno;
  ::unlink(fresh.c_str());
  return said(code, path);
}

Status remove(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return said(errno, path);
}

Status put_back(const std::string& path, const std::optional<std::string>& text) {
  return text ? replace(path, *text) : remove(path);
}

}  // namespace

std::string boot_driver(const HostRoots& roots, PciAddress function) {
  const auto text = text_of(file_of(roots, function));
  if (!text) return {};
  const std::size_t at = text->find(kOverride);
  if (at == std::string::npos) return "?";
  const std::size_t begin = at + kOverride.size(), end = text->find('"', begin);
  return end == std::string::npos || end == begin ? "?" : text->substr(begin, end - begin);
}

Result<std::optional<HostStep>> boot_rule_step(const HostRoots& roots, PciAddress function,
                                               const std::string& driver) {
  // Nothing that means something else to udev.
  if (driver.empty() || driver.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
                            std::string::npos)
    return Error{EINVAL, "persist"}.with_sentence("--persist: '" + driver + "' is not the name of a driver");
  const std::string path = file_of(roots, function);
  const auto lines = rule(function, driver);
  const std::string text = lines[0] + "\n" + lines[1] + "\n";
  const auto before = text_of(path);
  if (before == text) return std::optional<HostStep>();
  return std::optional<HostStep>({"printf '%s\\n' '" + lines[0] + "' '" + lines[1] + "' > " + path,
                                  [=] { return replace(path, text); }, [=] { return put_back(path, before); }});
}

std::optional<HostStep> no_boot_rule_step(const HostRoots& roots, PciAddress function) {
  const std::string path = file_of(roots, function);
  const auto before = text_of(path);
  if (!before) return std::nullopt;
  return HostStep{"rm " + path, [=] { return remove(path); }, [=] { return put_back(path, before); }};
}

}  // namespace pviommu::host
