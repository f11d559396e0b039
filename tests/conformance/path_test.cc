// SPDX-License-Identifier: LGPL-2.1-or-later
// The ways to a path: links and "..", the working folder, descriptors of folders, the C
// library's walks, the stat family of old programs, and what else is asked about a file.
//
// A kernel has one answer for all of them; so has whoever stands in for it.
#include <dirent.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/conformance/vfio_client.h"

namespace conformance {
namespace {

std::string group_file() { return "/dev/vfio/" + Machine::group_of(Machine::get().edu); }
const std::string kDevices = "/sys/bus/pci/devices";
std::string device_folder() { return kDevices + "/" + Machine::get().edu; }

Outcome opens(const std::string& path, int flags = O_RDONLY) {
  const Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  return fd ? ok() : failed(errno);
}
Outcome opens_at(const std::string& folder, const std::string& path, int flags = O_RDONLY) {
  const Fd at(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!at) return failed(errno);
  const Fd fd(::openat(at.get(), path.c_str(), flags | O_CLOEXEC));
  return fd ? ok() : failed(errno);
}
std::string first_line(std::FILE* stream) {
  char line[32] = "";
  return stream != nullptr && std::fgets(line, sizeof line, stream) != nullptr ? line : "";
}

/// A folder for a test's own links, and the working folder as it was, at its end.
class Paths : public ::testing::Test {
 protected:
  void SetUp() override {
    char* here = ::getcwd(nullptr, 0);
    before_ = here;
    std::free(here);
    char name[] = "/tmp/conformance-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    scratch_ = name;
  }
  void TearDown() override {
    EXPECT_EQ(::chdir(before_.c_str()), 0);
    for (const std::string& name : links_) ::unlink(name.c_str());
    ::rmdir(scratch_.c_str());
  }
  std::string link_to(std::string target) {  // which may be one of ours
    links_.push_back(scratch_ + "/" + std::to_string(links_.size()));
    EXPECT_EQ(::symlink(target.c_str(), links_.back().c_str()), 0);
    return links_.back();
  }
  std::string before_, scratch_;
  std::vector<std::string> links_;
};

TEST_F(Paths, DotsAndLinks) {
  for (const char* path : {"/dev/../dev/vfio/vfio", "/dev/vfio/../vfio/vfio", "/./dev/vfio/./vfio",
                           "/proc/self/root/dev/vfio/vfio", "/tmp/../dev//vfio/vfio"})
    EXPECT_EQ(opens(path, O_RDWR), ok()) << path;
  EXPECT_EQ(opens("/dev/nosuch/../vfio/vfio", O_RDWR), failed(ENOENT));
  EXPECT_EQ(opens("/dev/null/../vfio/vfio", O_RDWR), failed(ENOTDIR));
  EXPECT_EQ(opens("/dev/vfio/vfio/", O_RDWR), failed(ENOTDIR));
  EXPECT_EQ(opens("/dev/vfio/vfio/.", O_RDWR), failed(ENOTDIR));
  EXPECT_EQ(opens(link_to("/dev/vfio/vfio"), O_RDWR), ok());
  EXPECT_EQ(opens(link_to(links_[0]), O_RDWR), ok()) << "a link to a link";
  EXPECT_EQ(opens(links_[0], O_RDWR | O_NOFOLLOW), failed(ELOOP));
  EXPECT_EQ(opens(link_to("/dev/vfio") + "/vfio", O_RDWR), ok());
  const std::string device = link_to(device_folder());
  EXPECT_EQ(opens(device + "/vendor"), ok());
  EXPECT_EQ(opens(device + "/../" + Machine::get().edu + "/vendor"), ok()) << "the folder's real parent";
  EXPECT_EQ(opens(device + "/iommu_group/devices/" + Machine::get().edu + "/vendor"), ok());
  EXPECT_EQ(opens(device + "/subsystem/devices/../../../kernel/iommu_groups"), ok());
  struct stat st {};
  ASSERT_EQ(::lstat(device.c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  links_.push_back(scratch_ + "/loop");
  ASSERT_EQ(::symlink("loop", links_.back().c_str()), 0);
  EXPECT_EQ(opens(links_.back() + "/vfio"), failed(ELOOP));
}

TEST_F(Paths, TheWorkingFolder) {
  const std::vector<std::vector<std::string>> cases = {
      {"/", "dev/vfio/vfio"}, {"/dev", "vfio/vfio"}, {"/dev/vfio", "vfio"}, {"/dev/vfio", "../vfio/vfio"},
      {"/", "sys/bus/pci/devices/" + Machine::get().edu + "/vendor"}, {"/sys/bus", "pci/devices/" + Machine::get().edu + "/vendor"},
      {kDevices, Machine::get().edu + "/vendor"}, {device_folder(), "vendor"}, {device_folder(), "./iommu_group/devices"},
      {device_folder(), "../../../bus/pci"}};
  for (const auto& one : cases) {
    ASSERT_EQ(::chdir(one[0].c_str()), 0) << one[0];
    EXPECT_EQ(opens(one[1]), ok()) << one[0] << " " << one[1];
  }
  char* real = ::realpath(device_folder().c_str(), nullptr);
  ASSERT_NE(real, nullptr);
  ASSERT_EQ(::chdir(device_folder().c_str()), 0);
  char* here = ::getcwd(nullptr, 0);
  ASSERT_NE(here, nullptr);
  EXPECT_STREQ(here, real);
  char link[PATH_MAX] = {};
  EXPECT_GT(::readlink("/proc/self/cwd", link, sizeof link - 1), 0);
  EXPECT_STREQ(link, real);
  std::free(here);
  std::free(real);
}

TEST_F(Paths, FromDescriptors) {
  EXPECT_EQ(opens_at("/", "dev/vfio/vfio", O_RDWR), ok());
  EXPECT_EQ(opens_at("/dev", "vfio/vfio", O_RDWR), ok());
  EXPECT_EQ(opens_at("/dev/vfio", "vfio", O_RDWR), ok());
  EXPECT_EQ(opens_at("/dev/vfio", "../vfio/vfio", O_RDWR), ok());
  EXPECT_EQ(opens_at("/sys", "bus/pci/devices/" + Machine::get().edu + "/vendor"), ok());
  EXPECT_EQ(opens_at("/sys/bus", "pci/devices/" + Machine::get().edu + "/vendor"), ok());
  EXPECT_EQ(opens_at(kDevices, Machine::get().edu + "/vendor"), ok());
  EXPECT_EQ(opens_at(device_folder(), "../" + Machine::get().edu + "/vendor"), ok());
  EXPECT_EQ(opens_at(device_folder(), ".."), ok());
  EXPECT_EQ(opens_at(device_folder(), "nosuch"), failed(ENOENT));
  // What is known by a descriptor alone.
  const Fd node(::open(group_file().c_str(), O_PATH | O_CLOEXEC));
  struct stat st {};
  ASSERT_EQ(::fstat(node.get(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  ASSERT_EQ(::fstatat(node.get(), "", &st, AT_EMPTY_PATH), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(opens("/proc/self/fd/" + std::to_string(node.get()), O_RDWR), ok());
}

TEST_F(Paths, ALinkWithASlashIsTheFolder) {
  struct stat st {};
  ASSERT_EQ(::lstat(device_folder().c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  for (const char* end : {"/", "/."}) {
    ASSERT_EQ(::lstat((device_folder() + end).c_str(), &st), 0);
    EXPECT_TRUE(S_ISDIR(st.st_mode)) << end;
  }
  EXPECT_EQ(outcome_of(::lstat((device_folder() + "/vendor/").c_str(), &st)), failed(ENOTDIR));
  char target[8];
  EXPECT_EQ(outcome_of(::readlink((device_folder() + "/").c_str(), target, sizeof target)), failed(EINVAL));
}

std::map<std::string, int> types_of(const char* folder) {
  std::map<std::string, int> types;
  DIR* stream = ::opendir(folder);
  if (stream == nullptr) return types;
  for (int round = 0; round < 2; ++round) {
    std::map<std::string, int> again;
    while (const dirent* entry = ::readdir(stream)) EXPECT_TRUE(again.emplace(entry->d_name, entry->d_type).second) << entry->d_name;
    if (round == 1) {
      EXPECT_EQ(again, types) << "after rewinddir()";
    }
    types = again;
    ::rewinddir(stream);
  }
  ::closedir(stream);
  return types;
}

TEST_F(Paths, EntriesAndTheirTypes) {
  const std::string group = Machine::group_of(Machine::get().edu);
  EXPECT_EQ(types_of("/dev")["vfio"], DT_DIR);
  auto nodes = types_of("/dev/vfio");
  EXPECT_EQ(nodes["vfio"], DT_CHR);
  EXPECT_EQ(nodes[group], DT_CHR);
  EXPECT_EQ(types_of(kDevices.c_str())[Machine::get().edu], DT_LNK);
  EXPECT_EQ(types_of("/sys/kernel/iommu_groups")[group], DT_DIR);
  // Every type is what lstat() says.
  for (const char* folder : {"/dev/vfio", "/sys/bus/pci/devices", "/sys/bus/pci/drivers", "/sys/kernel/iommu_groups"})
    for (const auto& [name, type] : types_of(folder)) {
      struct stat st {};
      ASSERT_EQ(::lstat((std::string(folder) + "/" + name).c_str(), &st), 0) << folder << " " << name;
      EXPECT_EQ(static_cast<int>(IFTODT(st.st_mode)), type) << folder << " " << name;
    }
  dirent** names = nullptr;
  const int count = ::scandir("/dev", &names, nullptr, ::alphasort);
  ASSERT_GT(count, 0);
  bool found = false;
  for (int i = 0; i < count; ++i) {
    found = found || std::string(names[i]->d_name) == "vfio";
    if (i > 0) {
      EXPECT_LE(::strcoll(names[i - 1]->d_name, names[i]->d_name), 0);
    }
  }
  for (int i = 0; i < count; ++i) std::free(names[i]);
  std::free(names);
  EXPECT_TRUE(found);
}

std::vector<std::string> walked;  // by the functions that take a callback
int note(const char* path, const struct stat*, int) {
  walked.emplace_back(path);
  return 0;
}
int note_more(const char* path, const struct stat* st, int type, FTW* place) {
  EXPECT_LT(static_cast<std::size_t>(place->base), std::string(path).size() + 1);
  EXPECT_EQ(type == FTW_SL, S_ISLNK(st->st_mode)) << path;
  return note(path, st, type);
}
bool has(const std::string& path) { return std::ranges::find(walked, path) != walked.end(); }

TEST_F(Paths, Walks) {
  for (const auto& [pattern, searched] : std::map<std::string, std::string>{
           {"/dev/vfio/*", group_file()}, {"/dev/v?io/vfio", "/dev/vfio/vfio"}, {kDevices + "/*", device_folder()},
           {"/sys/bus/p[c]i/devices/*/vendor", device_folder() + "/vendor"}}) {
    glob_t matches{};
    ASSERT_EQ(::glob(pattern.c_str(), 0, nullptr, &matches), 0) << pattern;
    const std::vector<std::string> all(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    EXPECT_NE(std::ranges::find(all, searched), all.end()) << pattern;
    ::globfree(&matches);
  }
  walked.clear();
  EXPECT_EQ(::ftw("/dev/vfio", note, 8), 0);
  EXPECT_TRUE(has(group_file()));
  walked.clear();
  EXPECT_EQ(::nftw(kDevices.c_str(), note_more, 8, FTW_PHYS), 0);
  EXPECT_TRUE(has(device_folder()));
  EXPECT_FALSE(has(device_folder() + "/vendor")) << "through a link";
  walked.clear();
  char real[PATH_MAX];
  ASSERT_NE(::realpath(device_folder().c_str(), real), nullptr);
  EXPECT_EQ(::nftw(real, note_more, 8, FTW_PHYS | FTW_DEPTH | FTW_CHDIR), 0);
  EXPECT_TRUE(has(std::string(real) + "/vendor"));
  EXPECT_EQ(walked.back(), real) << "the folder last";
  EXPECT_EQ(outcome_of(::nftw("/dev/vfio/nosuch", note_more, 8, 0)), failed(ENOENT));
}

TEST_F(Paths, Fts) {
  const std::string root = kDevices, single = group_file();
  char* const folders[] = {const_cast<char*>(root.c_str()), const_cast<char*>(single.c_str()), nullptr};
  FTS* walk = ::fts_open(folders, FTS_PHYSICAL | FTS_NOCHDIR, nullptr);
  ASSERT_NE(walk, nullptr);
  std::map<std::string, std::vector<int>> seen;
  while (const FTSENT* entry = ::fts_read(walk)) {
    seen[entry->fts_path].push_back(entry->fts_info);
    EXPECT_EQ(entry->fts_level, entry->fts_path == root || entry->fts_path == single ? 0 : 1);
  }
  EXPECT_EQ(errno, 0);
  EXPECT_EQ(::fts_close(walk), 0);
  EXPECT_EQ(seen[root], (std::vector<int>{FTS_D, FTS_DP}));
  EXPECT_EQ(seen[device_folder()], (std::vector<int>{FTS_SL}));
  EXPECT_EQ(seen[single], (std::vector<int>{FTS_DEFAULT}));

  // Instructions: the device's link is followed, all folders below it are skipped.
  walk = ::fts_open(folders, FTS_PHYSICAL | FTS_NOCHDIR, nullptr);
  ASSERT_NE(walk, nullptr);
  seen.clear();
  while (FTSENT* entry = ::fts_read(walk)) {
    seen[entry->fts_path].push_back(entry->fts_info);
    if (entry->fts_path == device_folder() && entry->fts_info == FTS_SL) ::fts_set(walk, entry, FTS_FOLLOW);
    if (entry->fts_level == 0 && entry->fts_info == FTS_D) {
      bool listed = false;
      for (const FTSENT* child = ::fts_children(walk, 0); child != nullptr; child = child->fts_link)
        listed = listed || child->fts_name == Machine::get().edu;
      EXPECT_TRUE(listed);
    }
    if (entry->fts_level == 2 && entry->fts_info == FTS_D) ::fts_set(walk, entry, FTS_SKIP);
  }
  ::fts_close(walk);
  EXPECT_EQ(seen[device_folder()], (std::vector<int>{FTS_SL, FTS_D, FTS_DP}));
  EXPECT_EQ(seen[device_folder() + "/vendor"], (std::vector<int>{FTS_F}));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
TEST_F(Paths, StatByItsNamesBeforeGlibc233) {
  GTEST_SKIP() << "GNU ld 2.40 leaves an empty relocation for a name with a version that the sanitizer has without";
}
#elif defined(__x86_64__) || defined(__powerpc64__)
// Named as a program that was linked before glibc 2.33 names them.
extern "C" {
int old_stat(int version, const char* path, struct stat* st);
int old_lstat(int version, const char* path, struct stat* st);
int old_fstat(int version, int fd, struct stat* st);
int old_fstatat(int version, int folder, const char* path, struct stat* st, int flags);
}
#ifdef __x86_64__
__asm__(".symver old_stat, __xstat@GLIBC_2.2.5\n.symver old_lstat, __lxstat64@GLIBC_2.2.5\n"
        ".symver old_fstat, __fxstat@GLIBC_2.2.5\n.symver old_fstatat, __fxstatat64@GLIBC_2.4");
#else
__asm__(".symver old_stat, __xstat@GLIBC_2.17\n.symver old_lstat, __lxstat64@GLIBC_2.17\n"
        ".symver old_fstat, __fxstat@GLIBC_2.17\n.symver old_fstatat, __fxstatat64@GLIBC_2.17");
#endif

TEST_F(Paths, StatByItsNamesBeforeGlibc233) {
  constexpr int version = 1;
  struct stat st {};
  for (const std::string& path : {std::string("/dev/vfio/vfio"), group_file(), device_folder()}) {
    struct stat now {};
    ASSERT_EQ(::stat(path.c_str(), &now), 0) << path;
    EXPECT_EQ(old_stat(version, path.c_str(), &st), 0) << path;
    EXPECT_EQ(st.st_mode, now.st_mode) << path;
    EXPECT_EQ(st.st_rdev, now.st_rdev) << path;
    EXPECT_EQ(old_fstatat(version, AT_FDCWD, path.c_str(), &st, 0), 0) << path;
    EXPECT_EQ(st.st_ino, now.st_ino) << path;
  }
  ASSERT_EQ(old_lstat(version, device_folder().c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  Session session(Machine::get().edu);
  ASSERT_EQ(old_fstat(version, session.device.fd(), &st), 0);
  EXPECT_EQ(st.st_mode & S_IFMT, 0u);
  ASSERT_EQ(old_fstat(version, session.container.fd(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
}

#endif

TEST_F(Paths, Streams) {
  std::FILE* stream = std::fopen((device_folder() + "/vendor").c_str(), "r");
  const std::string vendor = first_line(stream);
  EXPECT_EQ(vendor.substr(0, 2), "0x");
  stream = std::freopen("/dev/null", "r", stream);
  EXPECT_EQ(first_line(stream), "");
  stream = std::freopen((device_folder() + "/vendor").c_str(), "r", stream);
  EXPECT_EQ(first_line(stream), vendor);
  stream = std::freopen("/dev/vfio/vfio", "r+", stream);
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(::ioctl(::fileno(stream), VFIO_GET_API_VERSION), VFIO_API_VERSION);
  std::fclose(stream);
  stream = std::fopen("/dev/vfio/vfio", "r+e");
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(::ioctl(::fileno(stream), VFIO_GET_API_VERSION), VFIO_API_VERSION);
  std::fclose(stream);
}

TEST_F(Paths, FilesystemsAndPermissions) {
  struct statfs fs {};
  struct statvfs vfs {};
  for (const std::string& path : {std::string("/dev/vfio/vfio"), device_folder(), device_folder() + "/vendor"}) {
    EXPECT_EQ(::statfs(path.c_str(), &fs), 0) << path;
    EXPECT_EQ(path[1] == 's', fs.f_type == static_cast<decltype(fs.f_type)>(SYSFS_MAGIC)) << path;
    EXPECT_EQ(::statvfs(path.c_str(), &vfs), 0) << path;
    EXPECT_EQ(::eaccess(path.c_str(), R_OK), 0) << path;
    EXPECT_EQ(::euidaccess(path.c_str(), R_OK), 0) << path;
    EXPECT_EQ(::access(path.c_str(), R_OK), 0) << path;
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::fstatfs(fd.get(), &fs), 0) << path;
    EXPECT_EQ(path[1] == 's', fs.f_type == static_cast<decltype(fs.f_type)>(SYSFS_MAGIC)) << path;
  }
}

TEST_F(Paths, OwnerAndMode) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  struct stat before {}, st {};
  const std::string path = group_file();
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  EXPECT_EQ(before.st_mode & 07777, 0600u);
  EXPECT_EQ(::chown(path.c_str(), 65534, 65533), 0);
  EXPECT_EQ(::chmod(path.c_str(), 0640), 0);
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 65534u);
  EXPECT_EQ(st.st_gid, 65533u);
  EXPECT_EQ(st.st_mode, S_IFCHR | 0640u);
  // Who may open it and who may not.
  const auto opens_as = [&](unsigned user, int flags) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgid(user) != 0 || ::setuid(user) != 0) ::_exit(255);
      const int fd = ::open(path.c_str(), flags);
      ::_exit(fd < 0 ? errno : 0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  EXPECT_EQ(opens_as(65532, O_RDWR), EACCES);
  EXPECT_EQ(opens_as(65533, O_RDWR), EACCES) << "its group may only read";
  // A hypervisor that only root may call is opened by each process of a preloaded program.
  if (!without("users")) { EXPECT_EQ(opens_as(65534, O_RDWR), 0); }
  EXPECT_EQ(::chmod(path.c_str(), before.st_mode & 07777), 0);
  EXPECT_EQ(::chown(path.c_str(), before.st_uid, before.st_gid), 0);
  // By the open file, too.
  {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(fd);
    EXPECT_EQ(::fchmod(fd.get(), 0660), 0);
    ASSERT_EQ(::fstat(fd.get(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFCHR | 0660u);
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFCHR | 0660u);
    EXPECT_EQ(::fchmod(fd.get(), 0600), 0);
  }
}

}  // namespace
}  // namespace conformance
