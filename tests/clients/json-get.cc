// SPDX-License-Identifier: LGPL-2.1-or-later
// json-get FILE POINTER...: what is at each JSON pointer, a line each ("-" reads
// stdin).  Status 2: FILE is not one JSON text; 1: nothing at a pointer.
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " FILE POINTER...\n";
    return 2;
  }
  const std::string file = argv[1];
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream in(file);
    if (!in) {
      std::cerr << file << ": cannot be read\n";
      return 2;
    }
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text);
  } catch (const std::exception& error) {
    std::cerr << file << ": " << error.what() << '\n';
    return 2;
  }
  int status = 0;
  for (int i = 2; i < argc; ++i) {
    try {
      const nlohmann::json& value = json.at(nlohmann::json::json_pointer(argv[i]));
      std::cout << (value.is_string() ? value.get<std::string>() : value.dump()) << '\n';
    } catch (const std::exception&) {
      std::cout << "-\n";
      std::cerr << file << ": nothing at " << argv[i] << '\n';
      status = 1;
    }
  }
  return status;
}
