// SPDX-License-Identifier: LGPL-2.1-or-later
// Instructions that are made for a program (vfio-glue/preload/x86_instruction.h), against the
// processor: each one of the table runs on memory, and on a page that faults, where a handler
// makes it.  Registers, flags and memory are the same afterwards; the accesses are the ones that
// the table names, in their order.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "vfio-glue/preload/x86_instruction.h"

namespace pviommu::vfio {
namespace {

constexpr std::size_t kPageBytes = 4096, kAt = 256;

struct Registers {
  std::uint64_t rax, rcx, rdx, rsi, rdi, flags;
  alignas(16) std::uint64_t vector[8];
  friend bool operator==(const Registers&, const Registers&) = default;
};

/// rdi is the place in memory, rsi another in plain memory; vector is xmm1 or its like.
struct Case {
  const char* text;
  const char* accesses;  ///< of the page: "load 4 store 4"
  unsigned needs;        ///< bytes of vector registers, 0 for none
  void (*run)(Registers&);
};

#define INSTRUCTION(load_vector, text, store_vector)                                                     \
  [](Registers& r) {                                                                                      \
    asm volatile(                                                                                         \
        "lea -256(%%rsp), %%rsp\n\t" load_vector                                                          \
        "mov 0(%%rbx), %%rax\n\tmov 8(%%rbx), %%rcx\n\tmov 16(%%rbx), %%rdx\n\tmov 24(%%rbx), %%rsi\n\t"  \
        "mov 32(%%rbx), %%rdi\n\tpush 40(%%rbx)\n\tpopf\n\t" text "\n\tpushf\n\tpop 40(%%rbx)\n\tcld\n\t" \
        "mov %%rax, 0(%%rbx)\n\tmov %%rcx, 8(%%rbx)\n\tmov %%rdx, 16(%%rbx)\n\tmov %%rsi, 24(%%rbx)\n\t"  \
        "mov %%rdi, 32(%%rbx)\n\t" store_vector "lea 256(%%rsp), %%rsp"                                   \
        :                                                                                                 \
        : "b"(&r)                                                                                         \
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",        \
          "xmm1", "xmm2", "cc", "memory");                                                                \
  }
#define GENERAL(text, accesses) {text, accesses, 0, INSTRUCTION("", text, "")}
#define SSE(text, accesses) {text, accesses, 16, INSTRUCTION("movups 48(%%rbx), %%xmm1\n\t", text, "movups %%xmm1, 48(%%rbx)\n\t")}
#define AVX(text, accesses)                                                                   \
  {text, accesses, 32, INSTRUCTION("vmovups 48(%%rbx), %%ymm1\n\tvmovaps %%ymm1, %%ymm2\n\t", text, \
                                   "vmovups %%ymm1, 48(%%rbx)\n\tvzeroupper\n\t")}
#define AVX512(text, accesses) \
  {text, accesses, 64, INSTRUCTION("vmovups 48(%%rbx), %%zmm1\n\t", text, "vmovups %%zmm1, 48(%%rbx)\n\tvzeroupper\n\t")}

const Case kCases[] = {
    // Moves of general registers.
    GENERAL("movb (%%rdi), %%al", "load 1"),
    GENERAL("movb (%%rdi), %%ah", "load 1"),
    GENERAL("movb (%%rdi), %%dl", "load 1"),
    GENERAL("movw (%%rdi), %%cx", "load 2"),
    GENERAL("movl (%%rdi), %%eax", "load 4"),
    GENERAL("movq (%%rdi), %%rdx", "load 8"),
    GENERAL("movb %%al, (%%rdi)", "store 1"),
    GENERAL("movb %%ch, (%%rdi)", "store 1"),
    GENERAL("movw %%ax, (%%rdi)", "store 2"),
    GENERAL("movl %%ecx, (%%rdi)", "store 4"),
    GENERAL("movq %%rdx, (%%rdi)", "store 8"),
    GENERAL("movb $0x5a, (%%rdi)", "store 1"),
    GENERAL("movw $0x1234, (%%rdi)", "store 2"),
    GENERAL("movl $0x89abcdef, (%%rdi)", "store 4"),
    GENERAL("movq $-2, (%%rdi)", "store 8"),
    GENERAL("movl 12(%%rdi), %%eax", "load 4"),
    GENERAL("movl -8(%%rdi), %%eax", "load 4"),
    GENERAL("movl $3, %%ecx\n\tmovl 4(%%rdi,%%rcx,4), %%eax", "load 4"),
    GENERAL("mov $2, %%r9\n\tlea (%%rdi), %%r10\n\tmovw (%%r10,%%r9,8), %%ax", "load 2"),
    GENERAL("push %%rdi\n\tpop %%r12\n\tmovl %%eax, (%%r12)\n\tmovl (%%r12), %%edx", "store 4 load 4"),
    GENERAL("movzbl (%%rdi), %%eax", "load 1"),
    GENERAL("movzbq (%%rdi), %%rax", "load 1"),
    GENERAL("movzbw (%%rdi), %%ax", "load 1"),
    GENERAL("movzwl (%%rdi), %%ecx", "load 2"),
    GENERAL("movsbl (%%rdi), %%eax", "load 1"),
    GENERAL("movsbq (%%rdi), %%rdx", "load 1"),
    GENERAL("movsbw (%%rdi), %%ax", "load 1"),
    GENERAL("movswl (%%rdi), %%eax", "load 2"),
    GENERAL("movswq (%%rdi), %%rax", "load 2"),
    GENERAL("movslq (%%rdi), %%rcx", "load 4"),
    GENERAL("movbe (%%rdi), %%ax", "load 2"),
    GENERAL("movbe (%%rdi), %%eax", "load 4"),
    GENERAL("movbe (%%rdi), %%rax", "load 8"),
    GENERAL("movbe %%cx, (%%rdi)", "store 2"),
    GENERAL("movbe %%ecx, (%%rdi)", "store 4"),
    GENERAL("movbe %%rdx, (%%rdi)", "store 8"),
    GENERAL("movnti %%ecx, (%%rdi)", "store 4"),
    GENERAL("movnti %%rcx, (%%rdi)", "store 8"),
    GENERAL("push (%%rdi)\n\tpop %%rax", "load 8"),
    GENERAL("push %%rcx\n\tpop (%%rdi)", "store 8"),
    GENERAL("cmovz (%%rdi), %%eax", "load 4"),
    GENERAL("cmovnz (%%rdi), %%rax", "load 8"),
    GENERAL("cmovl (%%rdi), %%ecx", "load 4"),
    GENERAL("cmovnl (%%rdi), %%cx", "load 2"),
    GENERAL("setz (%%rdi)", "store 1"),
    GENERAL("setnbe (%%rdi)", "store 1"),
    GENERAL("setle (%%rdi)", "store 1"),
    // Arithmetic and logic, with flags.
    GENERAL("addb %%al, (%%rdi)", "load 1 store 1"),
    GENERAL("addl %%ecx, (%%rdi)", "load 4 store 4"),
    GENERAL("addq $-3, (%%rdi)", "load 8 store 8"),
    GENERAL("addl (%%rdi), %%eax", "load 4"),
    GENERAL("addw $0x7fff, (%%rdi)", "load 2 store 2"),
    GENERAL("adcl %%ecx, (%%rdi)", "load 4 store 4"),
    GENERAL("adcq (%%rdi), %%rdx", "load 8"),
    GENERAL("subl $1, (%%rdi)", "load 4 store 4"),
    GENERAL("subb (%%rdi), %%cl", "load 1"),
    GENERAL("sbbl %%eax, (%%rdi)", "load 4 store 4"),
    GENERAL("andl $0xf0, (%%rdi)", "load 4 store 4"),
    GENERAL("andb $0xfe, (%%rdi)", "load 1 store 1"),
    GENERAL("andq (%%rdi), %%rax", "load 8"),
    GENERAL("orl $0x80000000, (%%rdi)", "load 4 store 4"),
    GENERAL("orb $1, 3(%%rdi)", "load 1 store 1"),
    GENERAL("xorl %%eax, (%%rdi)", "load 4 store 4"),
    GENERAL("xorw (%%rdi), %%dx", "load 2"),
    GENERAL("lock orl %%ecx, (%%rdi)", "load 4 store 4"),
    GENERAL("lock addq $1, (%%rdi)", "load 8 store 8"),
    GENERAL("incl (%%rdi)", "load 4 store 4"),
    GENERAL("incb (%%rdi)", "load 1 store 1"),
    GENERAL("decq (%%rdi)", "load 8 store 8"),
    GENERAL("notl (%%rdi)", "load 4 store 4"),
    GENERAL("negl (%%rdi)", "load 4 store 4"),
    GENERAL("cmpl $7, (%%rdi)", "load 4"),
    GENERAL("cmpl (%%rdi), %%ecx", "load 4"),
    GENERAL("cmpb %%al, (%%rdi)", "load 1"),
    GENERAL("cmpq $-1, (%%rdi)", "load 8"),
    GENERAL("testl $0x80, (%%rdi)", "load 4"),
    GENERAL("testb $1, (%%rdi)", "load 1"),
    GENERAL("testq %%rdx, (%%rdi)", "load 8"),
    GENERAL("shll $1, (%%rdi)", "load 4 store 4"),
    GENERAL("shrl $4, (%%rdi)", "load 4 store 4"),
    GENERAL("sarq $1, (%%rdi)", "load 8 store 8"),
    GENERAL("roll $1, (%%rdi)", "load 4 store 4"),
    GENERAL("rorw $1, (%%rdi)", "load 2 store 2"),
    GENERAL("btl $5, (%%rdi)", "load 4"),
    GENERAL("btsl $31, (%%rdi)", "load 4 store 4"),
    GENERAL("btrq $40, (%%rdi)", "load 8 store 8"),
    GENERAL("btcl $0, (%%rdi)", "load 4 store 4"),
    GENERAL("imull (%%rdi), %%eax", "load 4"),
    GENERAL("imull $3, (%%rdi), %%ecx", "load 4"),
    GENERAL("imulq (%%rdi), %%rdx", "load 8"),
    GENERAL("xchgl %%eax, (%%rdi)", "load 4 store 4"),
    GENERAL("xchgb %%ah, (%%rdi)", "load 1 store 1"),
    GENERAL("xchgq %%rdx, (%%rdi)", "load 8 store 8"),
    GENERAL("lock xaddl %%ecx, (%%rdi)", "load 4 store 4"),
    GENERAL("lock xaddq %%rcx, (%%rdi)", "load 8 store 8"),
    GENERAL("lock cmpxchgl %%ecx, (%%rdi)", "load 4 store 4"),
    GENERAL("movl (%%rdi), %%eax\n\tlock cmpxchgl %%ecx, (%%rdi)", "load 4 load 4 store 4"),
    GENERAL("movb (%%rdi), %%al\n\tlock cmpxchgb %%cl, (%%rdi)", "load 1 load 1 store 1"),
    GENERAL("clflush (%%rdi)", ""),
    // Strings.
    GENERAL("stosl", "store 4"),
    GENERAL("stosb", "store 1"),
    GENERAL("movsl", "store 4"),
    GENERAL("std\n\tmovsb", "store 1"),
    GENERAL("xchg %%rsi, %%rdi\n\tmovsq", "load 8"),
    GENERAL("xchg %%rsi, %%rdi\n\tlodsw", "load 2"),
    GENERAL("xchg %%rsi, %%rdi\n\tlodsl", "load 4"),
    GENERAL("movl $3, %%ecx\n\trep stosl", "store 4 store 4 store 4"),
    GENERAL("movl $2, %%ecx\n\trep movsq", "store 8 store 8"),
    GENERAL("xchg %%rsi, %%rdi\n\tmovl $3, %%ecx\n\trep movsb", "load 1 load 1 load 1"),
    // Vector registers.
    SSE("movd (%%rdi), %%xmm1", "load 4"),
    SSE("movd %%xmm1, (%%rdi)", "store 4"),
    SSE("movq (%%rdi), %%xmm1", "load 8"),
    SSE("movq %%xmm1, (%%rdi)", "store 8"),
    SSE("movss (%%rdi), %%xmm1", "load 4"),
    SSE("movss %%xmm1, (%%rdi)", "store 4"),
    SSE("movsd (%%rdi), %%xmm1", "load 8"),
    SSE("movsd %%xmm1, (%%rdi)", "store 8"),
    SSE("movups (%%rdi), %%xmm1", "load 16"),
    SSE("movups %%xmm1, (%%rdi)", "store 16"),
    SSE("movaps (%%rdi), %%xmm1", "load 16"),
    SSE("movdqa %%xmm1, (%%rdi)", "store 16"),
    SSE("movdqu 3(%%rdi), %%xmm1", "load 16"),
    SSE("movntdq %%xmm1, (%%rdi)", "store 16"),
    SSE("movlps (%%rdi), %%xmm1", "load 8"),
    SSE("movhps (%%rdi), %%xmm1", "load 8"),
    SSE("movlps %%xmm1, (%%rdi)", "store 8"),
    SSE("movhps %%xmm1, (%%rdi)", "store 8"),
    SSE("movhpd (%%rdi), %%xmm1", "load 8"),
    AVX("vmovd (%%rdi), %%xmm1", "load 4"),
    AVX("vmovq (%%rdi), %%xmm1", "load 8"),
    AVX("vmovq %%xmm1, (%%rdi)", "store 8"),
    AVX("vmovups (%%rdi), %%xmm1", "load 16"),
    AVX("vmovdqu (%%rdi), %%ymm1", "load 32"),
    AVX("vmovdqu %%ymm1, (%%rdi)", "store 32"),
    AVX("vmovaps %%ymm1, (%%rdi)", "store 32"),
    AVX("vmovntdq %%ymm1, (%%rdi)", "store 32"),
    AVX("vmovhps (%%rdi), %%xmm2, %%xmm1", "load 8"),
    AVX("vmovlps (%%rdi), %%xmm2, %%xmm1", "load 8"),
    AVX("movups (%%rdi), %%xmm1", "load 16"),
    AVX512("vmovdqu64 (%%rdi), %%zmm1", "load 64"),
    AVX512("vmovdqu64 %%zmm1, (%%rdi)", "store 64"),
    AVX512("vmovdqu8 (%%rdi), %%ymm1", "load 32"),
    AVX512("vmovups %%zmm1, %%zmm18\n\tvmovntdq %%zmm18, (%%rdi)", "store 64"),
    AVX512("vmovdqa64 (%%rdi), %%zmm25\n\tvmovdqu64 %%zmm25, %%zmm1", "load 64"),
};

/// The page that faults, what is behind it, and the accesses.
class Trap final : public TrapBus {
 public:
  Status load(std::uint64_t address, void* to, std::size_t bytes) override {
    if (!inside(address)) return plain(to, reinterpret_cast<const void*>(address), bytes);
    note("load ", bytes);
    return plain(to, &memory[address - page], bytes);
  }
  Status store(std::uint64_t address, const void* from, std::size_t bytes) override {
    if (!inside(address)) return plain(reinterpret_cast<void*>(address), from, bytes);
    note("store ", bytes);
    return plain(&memory[address - page], from, bytes);
  }

  std::uint64_t page = 0;
  std::array<std::uint8_t, kPageBytes> memory{};
  std::string accesses;
  bool unknown = false;

 private:
  bool inside(std::uint64_t address) const { return address - page < kPageBytes; }
  static Status plain(void* to, const void* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    return {};
  }
  void note(const char* kind, std::size_t bytes) {
    accesses += (accesses.empty() ? "" : " ") + std::string(kind) + std::to_string(bytes);
  }
};

Trap* trap = nullptr;

void on_fault(int number, siginfo_t* info, void* context) {
  X86State state(*static_cast<ucontext_t*>(context));
  const auto instruction = X86Instruction::decode(reinterpret_cast<const void*>(state.next()), X86Instruction::kLongest);
  Error failure;
  if (instruction && instruction->make(state, *trap, reinterpret_cast<std::uint64_t>(info->si_addr), failure) ==
                         X86Instruction::Outcome::made)
    return;
  std::fprintf(stderr, "not made: %s\n", instruction ? instruction->text(state.next()).c_str() : "?");
  ::signal(number, SIG_DFL);
}

class Instruction : public testing::Test {
 protected:
  void SetUp() override {
    page_ = ::mmap(nullptr, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(page_, MAP_FAILED);
    trap_.page = reinterpret_cast<std::uint64_t>(page_);
    trap = &trap_;
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSEGV, &action, &before_);
  }
  void TearDown() override {
    ::sigaction(SIGSEGV, &before_, nullptr);
    trap = nullptr;
    ::munmap(page_, kPageBytes);
  }

  Trap trap_;
  void* page_ = nullptr;
  struct sigaction before_ {};
};

bool supported(unsigned vector_bytes) {
  __builtin_cpu_init();
  if (vector_bytes == 64) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return vector_bytes != 32 || __builtin_cpu_supports("avx");
}

TEST_F(Instruction, DoesWhatTheProcessorDoes) {
  for (const Case& one : kCases) {
    if (!supported(one.needs)) continue;
    for (const std::uint64_t pattern : {0x0123456789abcdefull, 0xfffffffffffffffeull, 0x8000000080000001ull, 0x7full, 0ull})
      for (const std::uint64_t flags : {0x202ull, 0xad7ull}) {  // none; CF PF AF ZF SF OF
        alignas(64) std::array<std::uint8_t, kPageBytes> memory{};
        for (std::size_t i = 0; i < kPageBytes; ++i)
          memory[i] = static_cast<std::uint8_t>((pattern >> (8 * (i % 8))) + (i >= kAt + 8 ? i : 0));
        alignas(64) std::array<std::uint8_t, 256> other{}, others;
        for (std::size_t i = 0; i < other.size(); ++i) other[i] = static_cast<std::uint8_t>(3 * i + 1);
        others = other;
        Registers there{0x1122334455667788 ^ pattern, 0x99aabbccddeeff03, 0x0f0f0f0f00000000 | pattern >> 3, 0, 0, flags, {}};
        for (std::size_t i = 0; i < 8; ++i) there.vector[i] = 0x0101010101010101ull * (i + 1) ^ pattern;
        Registers here = there;
        there.rdi = reinterpret_cast<std::uint64_t>(&memory[kAt]);
        there.rsi = reinterpret_cast<std::uint64_t>(&other[128]);
        trap_.memory = memory;
        trap_.accesses.clear();
        here.rdi = trap_.page + kAt;
        here.rsi = reinterpret_cast<std::uint64_t>(&others[128]);
        one.run(there);
        one.run(here);
        const std::string what = std::string(one.text) + " on " + std::to_string(pattern) + ", flags " + std::to_string(flags);
        // Places become distances.
        for (std::uint64_t* place : {&there.rdi, &there.rsi}) {
          if (*place - reinterpret_cast<std::uint64_t>(memory.data()) < kPageBytes) *place -= reinterpret_cast<std::uint64_t>(memory.data());
          else *place -= reinterpret_cast<std::uint64_t>(other.data());
        }
        for (std::uint64_t* place : {&here.rdi, &here.rsi}) {
          if (*place - trap_.page < kPageBytes) *place -= trap_.page;
          else *place -= reinterpret_cast<std::uint64_t>(others.data());
        }
        EXPECT_EQ(here.rax, there.rax) << what;
        EXPECT_EQ(here.rcx, there.rcx) << what;
        EXPECT_EQ(here.rdx, there.rdx) << what;
        EXPECT_EQ(here.rdi, there.rdi) << what;
        EXPECT_EQ(here.rsi, there.rsi) << what;
        EXPECT_EQ(here.flags & ~0x10000ull, there.flags & ~0x10000ull) << what;  // RF is the kernel's
        EXPECT_TRUE(std::ranges::equal(here.vector, there.vector)) << what;
        EXPECT_TRUE(trap_.memory == memory) << what;
        EXPECT_TRUE(others == other) << what;
        EXPECT_EQ(trap_.accesses, one.accesses) << what;
      }
  }
}

/// What is decoded and not made: nothing changes, and the text names it.
TEST_F(Instruction, UnknownOnesChangeNothing) {
  const struct {
    std::vector<std::uint8_t> code;
    const char* text;
  } cases[] = {
      {{0x0f, 0x58, 0x07}, "addps xmm0, [rdi]"},
      {{0x0f, 0xc7, 0x0f}, "cmpxchg8b [rdi]"},
      {{0xd9, 0x07}, "fld st0, dword ptr [rdi]"},
      {{0xf7, 0x37}, "div dword ptr [rdi]"},
      {{0x0f, 0xab, 0x07}, "bts [rdi], eax"},
      {{0x6c}, "insb [rdi], dx"},
  };
  for (const auto& one : cases) {
    ucontext_t context{}, before{};
    std::array<std::byte, 1024> area{};
    context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(area.data());
    context.uc_mcontext.gregs[REG_RDI] = static_cast<greg_t>(trap_.page + 64);
    before = context;
    X86State state(context);
    const auto instruction = X86Instruction::decode(one.code.data(), one.code.size());
    ASSERT_TRUE(instruction) << one.text;
    Error failure;
    EXPECT_EQ(instruction->make(state, trap_, trap_.page + 64, failure), X86Instruction::Outcome::unknown) << one.text;
    EXPECT_EQ(std::memcmp(&context, &before, sizeof context), 0) << one.text;
    EXPECT_EQ(instruction->text(0x1000).substr(0, std::string(one.text).find(' ')),
              std::string(one.text).substr(0, std::string(one.text).find(' ')));
  }
  EXPECT_EQ(trap_.accesses, "");
  const std::uint8_t nothing[] = {0x06};
  EXPECT_FALSE(X86Instruction::decode(nothing, sizeof nothing));
}

/// The fault of another instruction, or of its fetch, is not taken for one of a register.
TEST_F(Instruction, FaultElsewhereIsUnknown) {
  const std::uint8_t load[] = {0x8b, 0x07};  // mov (%rdi), %eax
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_RDI] = static_cast<greg_t>(trap_.page + 64);
  X86State state(context);
  Error failure;
  for (const std::uint64_t fault : {trap_.page + 63, trap_.page + 68, std::uint64_t{0}})
    EXPECT_EQ(X86Instruction::decode(load, sizeof load)->make(state, trap_, fault, failure), X86Instruction::Outcome::unknown);
  EXPECT_EQ(trap_.accesses, "");
  EXPECT_EQ(state.next(), 0u);
}

/// An access that fails leaves the registers as they were.
TEST_F(Instruction, FailedAccessChangesNoRegister) {
  class Broken final : public TrapBus {
    Status load(std::uint64_t, void*, std::size_t) override { return Error{EIO, "load"}; }
    Status store(std::uint64_t, const void*, std::size_t) override { return Error{EIO, "store"}; }
  } broken;
  const std::vector<std::vector<std::uint8_t>> codes = {
      {0x8b, 0x07}, {0x89, 0x07}, {0x01, 0x07}, {0x87, 0x07}, {0x0f, 0xb1, 0x0f}, {0xff, 0x37}, {0x8f, 0x07}, {0xf3, 0xab}};
  for (const auto& code : codes) {
    ucontext_t context{}, before{};
    context.uc_mcontext.gregs[REG_RDI] = static_cast<greg_t>(trap_.page);
    context.uc_mcontext.gregs[REG_RCX] = 3;
    before = context;
    X86State state(context);
    Error failure;
    EXPECT_EQ(X86Instruction::decode(code.data(), code.size())->make(state, broken, trap_.page, failure),
              X86Instruction::Outcome::failed);
    EXPECT_EQ(failure.code, EIO);
    EXPECT_EQ(std::memcmp(&context, &before, sizeof context), 0);
  }
}

}  // namespace
}  // namespace pviommu::vfio
