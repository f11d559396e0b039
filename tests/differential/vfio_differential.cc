// SPDX-License-Identifier: LGPL-2.1-or-later
// Random sequences of VFIO calls, each run on two implementations of /dev/vfio; their
// answers have to be the same.
#include <getopt.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "tests/differential/comparison.h"
#include "tests/differential/generator.h"
#include "tests/differential/masks.h"
#include "tests/differential/worker.h"

namespace differential {
namespace {

constexpr char kUsage[] =
    "usage: vfio_differential [OPTION]... [FILE...]\n"
    "\n"
    "Runs random sequences of VFIO calls twice: on the /dev/vfio that this process sees,\n"
    "and on what a launcher gives to the same program.  Prints the first difference of\n"
    "each kind as a small sequence that can be replayed; status 1 when there was one.\n"
    "FILEs are replayed first; without --operations nothing else.\n"
    "\n"
    "  --second WORDS    what starts the other side: 'pviommu run --hypervisor=model:... --'\n"
    "  --first WORDS     the same for the first side (default: nothing)\n"
    "  --operations N    how many random ones\n"
    "  --seed N          (default 1)\n"
    "  --devices LIST    which are opened (default edu,nvme,e1000e)\n"
    "  --differences N   kinds after which to stop (default 20)\n"
    "  --progress S      a line each S seconds (default 30; 0: none)\n"
    "  --show N          print sequence N of the seed, do nothing\n"
    "  --verbose         all answers of the replayed FILEs\n"
    "  --masks           what is not compared, and why\n"
    "  --worker          execute sequences from stdin\n";

struct Options {
  std::string first, second, show;
  std::uint64_t operations = 0, seed = 1, most = 20, progress = 30;
  std::vector<std::string> devices{"edu", "nvme", "e1000e"};
  std::vector<std::string> files;
  bool verbose = false;
};

std::string own_path() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<std::size_t>(length)) : "vfio_differential";
}

class Run {
 public:
  Run(const Options& options, Side& first, Side& second)
      : options_(options), first_(first), second_(second), comparison_(first, second) {}

  int replay() {
    for (const std::string& name : options_.files) {
      std::ifstream file(name);
      std::ostringstream text;
      text << file.rdbuf();
      const Sequence sequence = parse_sequence(text.str());
      if (!file || sequence.empty()) {
        std::fprintf(stderr, "vfio_differential: there is no sequence in %s\n", name.c_str());
        return 2;
      }
      if (options_.verbose) std::fputs(comparison_.transcript(sequence).c_str(), stdout);
      if (const auto difference = comparison_.run(sequence)) {
        ++failed_;
        std::printf("%s: differs\n", name.c_str());
        show(sequence, *difference);
      }
    }
    if (!options_.files.empty())
      std::printf("%zu sequences replayed, %zu differ\n", options_.files.size(),
                  static_cast<std::size_t>(failed_));
    return failed_ ? 1 : 0;
  }

  int random() {
    for (std::uint64_t n = 0; operations_ < options_.operations && kinds_.size() < options_.most; ++n) {
      const Sequence sequence = Generator(options_.seed, n, options_.devices).sequence();
      const auto difference = comparison_.run(sequence);
      if (difference) found(sequence, *difference, n);
      operations_ += sequence.size();
      progress();
    }
    std::printf(
        "%llu operations of seed %llu, %zu kinds of differences, %llu not repeatable, %.0f operations/s\n",
        count(operations_), count(options_.seed), kinds_.size(), count(once_), rate());
    for (const auto& [kind, times] : kinds_) std::printf("  %6llu times %s\n", count(times), kind.c_str());
    return kinds_.empty() && once_ == 0 ? 0 : 1;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static unsigned long long count(std::uint64_t value) { return value; }
  double rate() const {
    return static_cast<double>(operations_) /
           std::max(0.001, std::chrono::duration<double>(Clock::now() - began_).count());
  }

  void found(const Sequence& sequence, Difference difference, std::uint64_t n) {
    const std::string seen = difference.kind();
    if (const auto known = aliases_.find(seen); known != aliases_.end()) {
      ++kinds_[known->second];
      return;
    }
    const std::uint64_t at = operations_ + difference.index;
    const auto again = comparison_.run(sequence);
    if (!again || again->index != difference.index) {
      ++once_;
      std::printf("not repeatable: operation %llu, sequence %llu of seed %llu: %s\n", count(at), count(n),
                  count(options_.seed),
                  difference.index < sequence.size() ? sequence[difference.index].text().c_str() : "end");
      show({}, difference);
      return;
    }
    const Sequence small = comparison_.shrink(sequence, difference);
    const std::string kind = difference.kind();
    aliases_[seen] = kind;
    if (kinds_[kind]++ > 0) return;
    std::printf("difference %zu, at operation %llu, sequence %llu of seed %llu:\n", kinds_.size(), count(at),
                count(n), count(options_.seed));
    show(small, difference);
  }

  void show(const Sequence& sequence, const Difference& difference) {
    for (const Operation& operation : sequence) std::printf("    %s\n", operation.text().c_str());
    std::printf("  # %s: %s\n  # %s: %s\n", first_.name().c_str(), difference.first.c_str(),
                second_.name().c_str(), difference.second.c_str());
    std::fflush(stdout);
  }

  void progress() {
    if (options_.progress == 0 || Clock::now() - told_ < std::chrono::seconds(options_.progress)) return;
    told_ = Clock::now();
    std::printf("# %llu operations, %.0f/s, %zu kinds of differences\n", count(operations_), rate(),
                kinds_.size());
    std::fflush(stdout);
  }

  const Options& options_;
  Side& first_;
  Side& second_;
  Comparison comparison_;
  std::uint64_t operations_ = 0, once_ = 0, failed_ = 0;
  std::map<std::string, std::uint64_t> kinds_;
  std::map<std::string, std::string> aliases_;  ///< as it was found: what it became
  Clock::time_point began_ = Clock::now(), told_ = began_;
};

int main(int argc, char** argv) {
  Options options;
  enum {
    kFirst = 1,
    kSecond,
    kOperations,
    kSeed,
    kDevices,
    kDifferences,
    kProgress,
    kVerbose,
    kMasks,
    kWorker,
    kShow,
    kHelp
  };
  static const option kLong[] = {{"first", 1, nullptr, kFirst},
                                 {"second", 1, nullptr, kSecond},
                                 {"operations", 1, nullptr, kOperations},
                                 {"seed", 1, nullptr, kSeed},
                                 {"devices", 1, nullptr, kDevices},
                                 {"differences", 1, nullptr, kDifferences},
                                 {"progress", 1, nullptr, kProgress},
                                 {"verbose", 0, nullptr, kVerbose},
                                 {"masks", 0, nullptr, kMasks},
                                 {"worker", 0, nullptr, kWorker},
                                 {"show", 1, nullptr, kShow},
                                 {"help", 0, nullptr, kHelp},
                                 {}};
  for (int option; (option = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
    switch (option) {
      case kFirst:
        options.first = optarg;
        break;
      case kSecond:
        options.second = optarg;
        break;
      case kOperations:
        options.operations = number_of(optarg);
        break;
      case kSeed:
        options.seed = number_of(optarg);
        break;
      case kDevices:
        options.devices = split(optarg, ',');
        break;
      case kDifferences:
        options.most = number_of(optarg);
        break;
      case kProgress:
        options.progress = number_of(optarg);
        break;
      case kVerbose:
        options.verbose = true;
        break;
      case kMasks:
        std::fputs(masks_text().c_str(), stdout);
        return 0;
      case kShow:
        options.show = optarg;
        break;
      case kWorker:
        return serve();
      case kHelp:
        std::fputs(kUsage, stdout);
        return 0;
      default:
        std::fputs(kUsage, stderr);
        return 2;
    }
  }
  if (!options.show.empty()) {
    std::fputs(text_of(Generator(options.seed, number_of(options.show), options.devices).sequence()).c_str(),
               stdout);
    return 0;
  }
  for (int i = optind; i < argc; ++i) options.files.push_back(argv[i]);
  if ((options.operations == 0 && options.files.empty()) || options.devices.empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  Side first(options.first.empty() ? "kernel" : "first", split(options.first, ' '), own_path());
  Side second(options.first.empty() ? "pviommu" : "second", split(options.second, ' '), own_path());
  Run run(options, first, second);
  int status = run.replay();
  if (status != 2 && options.operations > 0) status |= run.random();
  return status;
}

}  // namespace
}  // namespace differential

int main(int argc, char** argv) { return differential::main(argc, argv); }
