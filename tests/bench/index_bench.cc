// SPDX-License-Identifier: LGPL-2.1-or-later
// The index of mappings beside what else could be used for it.
//
// Every container holds {first IOVA -> record of 32 bytes}.  The walk and the
// queries are computed beforehand; what is measured is the container.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <boost/intrusive/set.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <random>

#include "bench.h"
#include "config.h"
#include "pviommu/mapping_index.h"

#ifdef HAVE_ABSL_BTREE
#include <absl/container/btree_map.h>
#endif
#ifdef HAVE_GLIB
#include <glib.h>
#endif

namespace pviommu::bench {

Walk make_walk(std::size_t live, std::uint64_t stride, bool elsewhere) {
  std::mt19937_64 random(live);
  std::vector<std::uint64_t> places(2 * live);
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = i * stride;
  std::shuffle(places.begin(), places.end(), random);
  Walk walk;
  walk.live.assign(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(live));
  constexpr std::size_t kSteps = 1 << 17;
  for (std::size_t i = 0; i < kSteps; ++i) {
    const std::size_t a = random() % live, b = elsewhere ? live + random() % live : a;
    walk.from.push_back(places[a]);
    walk.to.push_back(places[b]);
    std::swap(places[a], places[b]);
  }
  for (std::size_t i = kSteps; i-- > 0;) {  // and back
    walk.from.push_back(walk.to[i]);
    walk.to.push_back(walk.from[i]);
  }
  return walk;
}

namespace {

std::size_t allocated() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Ours {
  static constexpr const char* kName = "pviommu";
  MappingIndex index;
  void insert(std::uint64_t first, const MappingRecord& record) {
    if (!index.insert(Iova(first), record)) std::abort();
  }
  MappingRecord erase(std::uint64_t first) {
    const auto cursor = index.find_exact(Iova(first));
    const MappingRecord record = cursor.record();
    index.erase(cursor);
    return record;
  }
  const MappingRecord& find(std::uint64_t iova) { return index.find(Iova(iova)).record(); }
  std::size_t bytes(std::size_t) const { return index.memory_bytes(); }
};

/// std::map and absl::btree_map.
template <class Map>
struct Ordered {
  Map map;
  void insert(std::uint64_t first, const MappingRecord& record) {
    const auto after = map.lower_bound(first);
    if (after != map.end() && after->first <= first + (record.size() - 1)) std::abort();
    map.emplace_hint(after, first, record);
  }
  MappingRecord erase(std::uint64_t first) {
    const auto it = map.find(first);
    const MappingRecord record = it->second;
    map.erase(it);
    return record;
  }
  const MappingRecord& find(std::uint64_t iova) { return std::prev(map.upper_bound(iova))->second; }
  std::size_t bytes(std::size_t heap) const { return heap; }
};
struct StdMap : Ordered<std::map<std::uint64_t, MappingRecord>> {
  static constexpr const char* kName = "std::map";
};
#ifdef HAVE_ABSL_BTREE
struct AbslBtree : Ordered<absl::btree_map<std::uint64_t, MappingRecord>> {
  static constexpr const char* kName = "absl::btree_map";
};
#endif

struct BoostSet {
  static constexpr const char* kName = "Boost rbtree";
  struct Node : boost::intrusive::set_base_hook<boost::intrusive::optimize_size<true>> {
    std::uint64_t first;
    MappingRecord record;
  };
  struct First {
    using type = std::uint64_t;
    type operator()(const Node& node) const { return node.first; }
  };
  boost::intrusive::set<Node, boost::intrusive::key_of_value<First>> set;
  ~BoostSet() {
    set.clear_and_dispose([](Node* node) { delete node; });
  }
  void insert(std::uint64_t first, const MappingRecord& record) {
    auto* node = new Node;
    node->first = first;
    node->record = record;
    if (!set.insert(*node).second) std::abort();
  }
  MappingRecord erase(std::uint64_t first) {
    const auto it = set.find(first);
    const MappingRecord record = it->record;
    set.erase_and_dispose(it, [](Node* node) { delete node; });
    return record;
  }
  const MappingRecord& find(std::uint64_t iova) { return std::prev(set.upper_bound(iova))->record; }
  std::size_t bytes(std::size_t heap) const { return heap; }
};

#ifdef HAVE_GLIB
struct GlibTree {
  static constexpr const char* kName = "GTree";
  struct Node {
    std::uint64_t first;
    MappingRecord record;
  };
  static gint compare(gconstpointer a, gconstpointer b, gpointer) {
    const auto x = static_cast<const Node*>(a)->first, y = static_cast<const Node*>(b)->first;
    return x < y ? -1 : x > y;
  }
  GTree* tree = g_tree_new_full(compare, nullptr, [](gpointer node) { delete static_cast<Node*>(node); }, nullptr);
  ~GlibTree() { g_tree_destroy(tree); }
  void insert(std::uint64_t first, const MappingRecord& record) {
    auto* node = new Node{first, record};
    g_tree_insert(tree, node, node);
  }
  MappingRecord erase(std::uint64_t first) {
    const Node key{first, {}};
    const MappingRecord record = static_cast<Node*>(g_tree_lookup(tree, &key))->record;
    g_tree_remove(tree, &key);
    return record;
  }
  const MappingRecord& find(std::uint64_t iova) {
    const Node key{iova, {}};
    return static_cast<Node*>(g_tree_lookup(tree, &key))->record;
  }
  std::size_t bytes(std::size_t heap) const { return heap; }
};
#endif

/// Filled once and shared by the benchmarks of one container and size that
/// follow each other; the last of them (`move`) may leave it changed.
template <class Container>
struct Filled {
  Container container;
  const Walk same, elsewhere;
  double bytes = 0;

  Filled(std::size_t live, std::uint64_t pages, std::uint64_t stride)
      : same(make_walk(live, stride, false)), elsewhere(make_walk(live, stride, true)) {
    MappingRecord record;
    record.pages = pages;
    const std::size_t before = allocated();
    for (const std::uint64_t first : same.live) container.insert(first, record);
    bytes = static_cast<double>(container.bytes(allocated() - before)) / static_cast<double>(live);
  }
};

template <class Container>
class Benchmarks {
 public:
  Benchmarks(std::size_t live, std::uint64_t pages, std::uint64_t stride)
      : live_(live), pages_(pages), stride_(stride) {}

  void pair(benchmark::State& state) { walk(state, filled().same); }
  void move(benchmark::State& state) {
    walk(state, filled().elsewhere);
    filled_.reset();
  }
  void lookup(benchmark::State& state) {
    auto& container = filled().container;
    const auto& queries = filled().same.from;
    std::size_t i = 0;
    for (auto _ : state) {
      benchmark::DoNotOptimize(container.find(queries[i]).pages);
      i = i + 1 == queries.size() ? 0 : i + 1;
    }
  }

 private:
  Filled<Container>& filled() {
    if (!filled_) filled_ = std::make_unique<Filled<Container>>(live_, pages_, stride_);
    return *filled_;
  }
  void walk(benchmark::State& state, const Walk& walk) {
    auto& container = filled().container;
    std::size_t i = 0;
    for (auto _ : state) {
      const MappingRecord record = container.erase(walk.from[i]);
      container.insert(walk.to[i], record);
      i = i + 1 == walk.from.size() ? 0 : i + 1;
    }
    state.counters["bytes"] = filled().bytes;
  }

  std::size_t live_;
  std::uint64_t pages_, stride_;
  std::unique_ptr<Filled<Container>> filled_;
};

template <class Container>
void add(const std::string& prefix, const std::string& name, std::size_t live, std::uint64_t pages,
         std::uint64_t stride) {
  const auto shared = std::make_shared<Benchmarks<Container>>(live, pages, stride);
  const auto one = [&](const char* what, void (Benchmarks<Container>::*body)(benchmark::State&)) {
    benchmark::RegisterBenchmark((prefix + what + "/" + name).c_str(),
                                 [=](benchmark::State& state) { (shared.get()->*body)(state); })
        ->Iterations(1 << 19);
  };
  one("pair", &Benchmarks<Container>::pair);
  one("lookup", &Benchmarks<Container>::lookup);
  one("move", &Benchmarks<Container>::move);
}

template <class Container>
void add_container() {
  for (const std::size_t live : {1'000, 100'000, 1'000'000})
    add<Container>("", std::string(Container::kName) + "/" + std::to_string(live), live, 1, kPageSize);
}

const int registered = [] {
  add_container<Ours>();
  // Misaligned: a page more than the size apart, so that no large entry fits.
  const std::pair<const char*, std::uint64_t> sizes[] = {{"4K", 1}, {"2M", 512}, {"1G", 512 * 512}};
  for (const auto& [name, pages] : sizes)
    add<Ours>("misaligned-", name, 100'000, pages, (pages << kPageShift) + kPageSize);
  add_container<StdMap>();
  add_container<BoostSet>();
#ifdef HAVE_ABSL_BTREE
  add_container<AbslBtree>();
#endif
#ifdef HAVE_GLIB
  add_container<GlibTree>();
#endif
  return 0;
}();

}  // namespace
}  // namespace pviommu::bench
