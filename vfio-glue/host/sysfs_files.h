// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking at folders of /sys and /proc: what is not there, or goes meanwhile, is empty.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace pviommu::host {

/// Names in a folder; none where there is no such folder.
inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename());
  return names;
}

/// Without links.
inline std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path out = std::filesystem::canonical(path, error);
  return error ? std::filesystem::path() : out;
}

inline std::string first_line_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

/// Both without links.
inline bool is_below(const std::filesystem::path& path, const std::filesystem::path& folder) {
  return !folder.empty() && path.native().starts_with(folder.native() + '/');
}

}  // namespace pviommu::host
