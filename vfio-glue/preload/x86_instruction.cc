// SPDX-License-Identifier: LGPL-2.1-or-later
// Making's functions answer false when an access has failed; then failure_ says why, and no
// register has been changed, for registers come last.
#include "vfio-glue/preload/x86_instruction.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vfio-glue/preload/x86_arithmetic.h"
#include "vfio-glue/preload/x86_condition.h"

namespace pviommu::vfio {
namespace {
constexpr ZydisMachineMode kMode = ZYDIS_MACHINE_MODE_LONG_64;
constexpr unsigned kRax = 0, kRcx = 1, kRsp = 4, kRsi = 6, kRdi = 7;
/// Elements of a string that are made at once; for the others the thread faults again, so that
/// its signals get through.
constexpr unsigned kStringElements = 512;

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }
bool is_general(ZydisRegister reg) {
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
      return true;
    default:
      return false;
  }
}
bool is_vector(ZydisRegister reg) {
  const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
  return kind == ZYDIS_REGCLASS_XMM || kind == ZYDIS_REGCLASS_YMM || kind == ZYDIS_REGCLASS_ZMM;
}
unsigned number_of(ZydisRegister reg) {
  const ZydisRegister whole = is_general(reg) ? ZydisRegisterGetLargestEnclosing(kMode, reg) : reg;
  return static_cast<unsigned>(ZydisRegisterGetId(whole));
}

std::uint64_t low_bytes(std::uint64_t value, unsigned bytes) {
  return bytes >= 8 ? value : value & ((std::uint64_t{1} << (8 * bytes)) - 1);
}
std::uint64_t sign_extended(std::uint64_t value, unsigned bytes) {
  const unsigned shift = 64 - 8 * bytes;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << shift) >> shift);
}

/// `work` with a value of the type that has `bytes` bytes.
template <class Work>
std::uint64_t with_width(unsigned bytes, Work&& work) {
  switch (bytes) {
    case 1: return work(std::uint8_t{});
    case 2: return work(std::uint16_t{});
    case 4: return work(std::uint32_t{});
    default: return work(std::uint64_t{});
  }
}

}  // namespace

/// One making.
class X86Instruction::Making {
 public:
  Making(const X86Instruction& of, X86State& state, TrapBus& bus, std::uint64_t fault, Error& failure)
      : instruction_(of.instruction_), operands_(of.operands_), state_(state), bus_(bus), fault_(fault),
        failure_(failure) {}

  Outcome make() {
    if (instruction_.meta.category == ZYDIS_CATEGORY_STRINGOP) return string();
    memory_ = find_memory();
    if (memory_ == nullptr || !reaches_fault()) return Outcome::unknown;
    const bool vector = std::any_of(operands_.begin(), operands_.begin() + instruction_.operand_count_visible,
                                    [](const ZydisDecodedOperand& one) {
                                      return one.type == ZYDIS_OPERAND_TYPE_REGISTER && !is_general(one.reg.value);
                                    });
    const Outcome outcome = vector ? move_vector() : general();
    if (outcome == Outcome::made) state_.set_next(state_.next() + instruction_.length);
    return outcome;
  }

 private:
  using Operand = ZydisDecodedOperand;

  const Operand* find_memory() const {
    for (unsigned i = 0; i < instruction_.operand_count_visible; ++i)
      if (operands_[i].type == ZYDIS_OPERAND_TYPE_MEMORY && operands_[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
        return &operands_[i];
    return nullptr;
  }

  std::uint64_t register_value(ZydisRegister reg) const {
    if (reg == ZYDIS_REGISTER_NONE) return 0;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return state_.next() + instruction_.length;
    std::uint64_t value = state_.general(number_of(reg));
    if (is_high_byte(reg)) value >>= 8;
    return low_bytes(value, ZydisRegisterGetWidth(kMode, reg) / 8);
  }

  std::uint64_t address_of(const Operand& operand) const {
    std::uint64_t address = register_value(operand.mem.base) + register_value(operand.mem.index) * operand.mem.scale +
                            static_cast<std::uint64_t>(operand.mem.disp.value);
    // Intel SDM, POP: rsp has been raised when it is the base.
    if (instruction_.mnemonic == ZYDIS_MNEMONIC_POP && operand.mem.base == ZYDIS_REGISTER_RSP) address += bytes(operand);
    if (instruction_.address_width == 32) address = low_bytes(address, 4);
    const bool fs = operand.mem.segment == ZYDIS_REGISTER_FS;
    if (fs || operand.mem.segment == ZYDIS_REGISTER_GS) {
      std::uint64_t base = 0;
      ::syscall(SYS_arch_prctl, fs ? ARCH_GET_FS : ARCH_GET_GS, &base);
      address += base;
    }
    return address;
  }

  static unsigned bytes(const Operand& operand) { return operand.size / 8; }

  bool reaches_fault() const {
    if (instruction_.mnemonic == ZYDIS_MNEMONIC_CLFLUSH || instruction_.mnemonic == ZYDIS_MNEMONIC_CLFLUSHOPT ||
        instruction_.mnemonic == ZYDIS_MNEMONIC_CLWB)
      return true;
    const std::uint64_t address = address_of(*memory_);
    // push and pop have the stack as well.
    if (instruction_.mnemonic == ZYDIS_MNEMONIC_PUSH || instruction_.mnemonic == ZYDIS_MNEMONIC_POP) return true;
    return fault_ - address < bytes(*memory_);
  }

  // ---- accesses

  bool load(std::uint64_t address, void* to, std::size_t count) {
    const Status done = bus_.load(address, to, count);
    if (!done) failure_ = done.error();
    return static_cast<bool>(done);
  }
  bool store(std::uint64_t address, const void* from, std::size_t count) {
    const Status done = bus_.store(address, from, count);
    if (!done) failure_ = done.error();
    return static_cast<bool>(done);
  }

  /// The value of an operand of at most 8 bytes.
  bool read(const Operand& operand, std::uint64_t& value) {
    value = 0;
    switch (operand.type) {
      case ZYDIS_OPERAND_TYPE_REGISTER:
        value = register_value(operand.reg.value);
        return true;
      case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        value = operand.imm.value.u;
        return true;
      default:
        return load(address_of(operand), &value, bytes(operand));
    }
  }
  bool write(const Operand& operand, std::uint64_t value) {
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) return store(address_of(operand), &value, bytes(operand));
    write_register(operand.reg.value, bytes(operand), value);
    return true;
  }
  void write_register(ZydisRegister reg, unsigned width, std::uint64_t value) {
    const unsigned number = number_of(reg);
    std::uint64_t whole = state_.general(number);
    const std::uint64_t mask = low_bytes(~std::uint64_t{0}, width);
    if (is_high_byte(reg))
      whole = (whole & ~std::uint64_t{0xff00}) | (value & 0xff) << 8;
    else if (width >= 4)
      whole = value & mask;  // the upper half of a register becomes 0
    else
      whole = (whole & ~mask) | (value & mask);
    state_.set_general(number, whole);
  }

  static Outcome outcome(bool done) { return done ? Outcome::made : Outcome::failed; }

  // ---- general registers

  Outcome general() {
    const Operand& first = operands_[0];
    const Operand& second = operands_[1];
    if (memory_->size > 64 && instruction_.mnemonic != ZYDIS_MNEMONIC_CLFLUSH &&
        instruction_.mnemonic != ZYDIS_MNEMONIC_CLFLUSHOPT && instruction_.mnemonic != ZYDIS_MNEMONIC_CLWB)
      return Outcome::unknown;
    std::uint64_t value = 0;
    switch (instruction_.mnemonic) {
      case ZYDIS_MNEMONIC_MOV:
      case ZYDIS_MNEMONIC_MOVZX:
      case ZYDIS_MNEMONIC_MOVNTI:
      case ZYDIS_MNEMONIC_MOVDIRI:
        if (first.type == ZYDIS_OPERAND_TYPE_REGISTER && !is_general(first.reg.value)) return Outcome::unknown;
        return outcome(read(second, value) && write(first, value));
      case ZYDIS_MNEMONIC_MOVSX:
      case ZYDIS_MNEMONIC_MOVSXD:
        return outcome(read(second, value) && write(first, sign_extended(value, bytes(second))));
      case ZYDIS_MNEMONIC_MOVBE:
        if (!read(second, value)) return Outcome::failed;
        return outcome(write(first, std::uint64_t{__builtin_bswap64(value)} >> (64 - 8 * bytes(second))));
      case ZYDIS_MNEMONIC_PUSH:
        return push();
      case ZYDIS_MNEMONIC_POP:
        return pop();
      case ZYDIS_MNEMONIC_XCHG:
        return exchange();
      case ZYDIS_MNEMONIC_XADD:
        return exchange_and_add();
      case ZYDIS_MNEMONIC_CMPXCHG:
        return compare_and_exchange();
      case ZYDIS_MNEMONIC_IMUL:
        return multiply();
      case ZYDIS_MNEMONIC_CLFLUSH:
      case ZYDIS_MNEMONIC_CLFLUSHOPT:
      case ZYDIS_MNEMONIC_CLWB:
        return Outcome::made;  // registers are not cached
      default:
        break;
    }
    if (const auto condition = x86::condition_of(instruction_.mnemonic)) return conditional(*condition);
    return arithmetic();
  }

  Outcome push() {
    std::uint64_t value = 0;
    if (!read(*memory_, value)) return Outcome::failed;
    const std::uint64_t stack = state_.general(kRsp) - bytes(*memory_);
    if (!store(stack, &value, bytes(*memory_))) return Outcome::failed;
    state_.set_general(kRsp, stack);
    return Outcome::made;
  }

  Outcome pop() {
    std::uint64_t value = 0;
    const std::uint64_t stack = state_.general(kRsp);
    if (!load(stack, &value, bytes(*memory_)) || !write(*memory_, value)) return Outcome::failed;
    state_.set_general(kRsp, stack + bytes(*memory_));
    return Outcome::made;
  }

  Outcome exchange() {
    const Operand& other = memory_ == &operands_[0] ? operands_[1] : operands_[0];
    std::uint64_t in_memory = 0, in_register = 0;
    if (!read(other, in_register) || !read(*memory_, in_memory) || !write(*memory_, in_register)) return Outcome::failed;
    return outcome(write(other, in_memory));
  }

  Outcome exchange_and_add() {
    std::uint64_t old = 0, added = 0, flags = state_.flags();
    if (!read(*memory_, old) || !read(operands_[1], added)) return Outcome::failed;
    const std::uint64_t sum = with_width(bytes(*memory_), [&]<class T>(T) -> std::uint64_t {
      return x86::add(static_cast<T>(old), static_cast<T>(added), flags);
    });
    if (!write(*memory_, sum)) return Outcome::failed;
    write(operands_[1], old);
    state_.set_arithmetic_flags(flags);
    return Outcome::made;
  }

  Outcome compare_and_exchange() {
    const unsigned width = bytes(*memory_);
    std::uint64_t old = 0, desired = 0, flags = state_.flags();
    if (!read(*memory_, old) || !read(operands_[1], desired)) return Outcome::failed;
    const std::uint64_t expected = low_bytes(state_.general(kRax), width);
    (void)with_width(width, [&]<class T>(T) -> std::uint64_t {
      return x86::sub(static_cast<T>(expected), static_cast<T>(old), flags);
    });
    // It writes in either case (Intel SDM, CMPXCHG).
    if (!write(*memory_, expected == old ? desired : old)) return Outcome::failed;
    if (expected != old) {
      std::uint64_t rax = state_.general(kRax);
      rax = width >= 4 ? old : (rax & ~low_bytes(~std::uint64_t{0}, width)) | old;
      state_.set_general(kRax, rax);
    }
    state_.set_arithmetic_flags(flags);
    return Outcome::made;
  }

  Outcome multiply() {
    const unsigned count = instruction_.operand_count_visible;
    if (count < 2) return Outcome::unknown;
    std::uint64_t left = 0, right = 0, flags = state_.flags();
    if (!read(operands_[count - 2], left) || !read(operands_[count - 1], right)) return Outcome::failed;
    const std::uint64_t product = with_width(std::max(2u, bytes(operands_[0])), [&]<class T>(T) -> std::uint64_t {
      if constexpr (sizeof(T) == 1) return 0;
      else return x86::imul(static_cast<T>(left), static_cast<T>(right), flags);
    });
    write(operands_[0], product);
    state_.set_arithmetic_flags(flags);
    return Outcome::made;
  }

  Outcome conditional(unsigned condition) {
    const bool met = x86::holds(condition, state_.flags());
    if (instruction_.operand_count_visible == 1) return outcome(write(*memory_, met ? 1 : 0));
    std::uint64_t value = 0;  // is loaded, whether it is wanted or not
    if (!read(operands_[1], value)) return Outcome::failed;
    write(operands_[0], met ? value : register_value(operands_[0].reg.value));
    return Outcome::made;
  }

  /// What is left of the integer instructions: destination = destination op source, with flags.
  Outcome arithmetic() {
    const ZydisMnemonic what = instruction_.mnemonic;
    const unsigned width = bytes(operands_[0]);
    std::uint64_t left = 0, right = 0, flags = 0;
    bool known = true;
    const auto result = [&]<class T>(T) -> std::uint64_t {
      const auto a = static_cast<T>(left);
      const auto b = static_cast<T>(right);
      const auto count = static_cast<std::uint8_t>(right);
      switch (what) {
        case ZYDIS_MNEMONIC_ADD: return x86::add(a, b, flags);
        case ZYDIS_MNEMONIC_ADC: return x86::adc(a, b, flags);
        case ZYDIS_MNEMONIC_SUB:
        case ZYDIS_MNEMONIC_CMP: return x86::sub(a, b, flags);
        case ZYDIS_MNEMONIC_SBB: return x86::sbb(a, b, flags);
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_TEST: return x86::bitwise_and(a, b, flags);
        case ZYDIS_MNEMONIC_OR: return x86::bitwise_or(a, b, flags);
        case ZYDIS_MNEMONIC_XOR: return x86::bitwise_xor(a, b, flags);
        case ZYDIS_MNEMONIC_INC: return x86::inc(a, flags);
        case ZYDIS_MNEMONIC_DEC: return x86::dec(a, flags);
        case ZYDIS_MNEMONIC_NEG: return x86::neg(a, flags);
        case ZYDIS_MNEMONIC_NOT: return static_cast<T>(~a);
        case ZYDIS_MNEMONIC_SHL: return x86::shl(a, count, flags);
        case ZYDIS_MNEMONIC_SHR: return x86::shr(a, count, flags);
        case ZYDIS_MNEMONIC_SAR: return x86::sar(a, count, flags);
        case ZYDIS_MNEMONIC_ROL: return x86::rol(a, count, flags);
        case ZYDIS_MNEMONIC_ROR: return x86::ror(a, count, flags);
        default: break;
      }
      if constexpr (sizeof(T) > 1) {
        switch (what) {
          case ZYDIS_MNEMONIC_BT: return x86::bt(a, b, flags);
          case ZYDIS_MNEMONIC_BTS: return x86::bts(a, b, flags);
          case ZYDIS_MNEMONIC_BTR: return x86::btr(a, b, flags);
          case ZYDIS_MNEMONIC_BTC: return x86::btc(a, b, flags);
          default: break;
        }
      }
      known = false;
      return 0;
    };
    // Before anything is loaded: a load may have an effect.
    (void)with_width(width, result);
    const bool is_bit = what == ZYDIS_MNEMONIC_BT || what == ZYDIS_MNEMONIC_BTS || what == ZYDIS_MNEMONIC_BTR ||
                        what == ZYDIS_MNEMONIC_BTC;
    // A bit number in a register can be one of another word.
    if (!known || (is_bit && operands_[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)) return Outcome::unknown;
    if (!read(operands_[0], left)) return Outcome::failed;
    if (instruction_.operand_count_visible > 1 && !read(operands_[1], right)) return Outcome::failed;
    flags = state_.flags();
    const std::uint64_t value = with_width(width, result);
    const bool writes = what != ZYDIS_MNEMONIC_CMP && what != ZYDIS_MNEMONIC_TEST && what != ZYDIS_MNEMONIC_BT;
    if (writes && !write(operands_[0], value)) return Outcome::failed;
    state_.set_arithmetic_flags(flags);  // not leaves them
    return Outcome::made;
  }

  // ---- vector registers

  Outcome move_vector() {
    // Without EVEX's mask, which is an operand of its own.
    std::array<const Operand*, ZYDIS_MAX_OPERAND_COUNT> operands{};
    unsigned operand_count = 0;
    for (unsigned i = 0; i < instruction_.operand_count_visible; ++i)
      if (operands_[i].type != ZYDIS_OPERAND_TYPE_REGISTER ||
          ZydisRegisterGetClass(operands_[i].reg.value) != ZYDIS_REGCLASS_MASK)
        operands[operand_count++] = &operands_[i];
    if (operand_count < 2) return Outcome::unknown;
    const bool three = operand_count == 3;
    if (instruction_.avx.mask.reg != ZYDIS_REGISTER_NONE && instruction_.avx.mask.reg != ZYDIS_REGISTER_K0)
      return Outcome::unknown;
    const bool encoded_with_vex = instruction_.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    bool scalar = false, high = false, low = false;
    switch (instruction_.mnemonic) {
      case ZYDIS_MNEMONIC_MOVD: case ZYDIS_MNEMONIC_MOVQ: case ZYDIS_MNEMONIC_MOVSS: case ZYDIS_MNEMONIC_MOVSD:
      case ZYDIS_MNEMONIC_VMOVD: case ZYDIS_MNEMONIC_VMOVQ: case ZYDIS_MNEMONIC_VMOVSS: case ZYDIS_MNEMONIC_VMOVSD:
        scalar = true;
        break;
      case ZYDIS_MNEMONIC_MOVHPS: case ZYDIS_MNEMONIC_MOVHPD: case ZYDIS_MNEMONIC_VMOVHPS: case ZYDIS_MNEMONIC_VMOVHPD:
        high = true;
        break;
      case ZYDIS_MNEMONIC_MOVLPS: case ZYDIS_MNEMONIC_MOVLPD: case ZYDIS_MNEMONIC_VMOVLPS: case ZYDIS_MNEMONIC_VMOVLPD:
        low = true;
        break;
      case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVAPS: case ZYDIS_MNEMONIC_MOVAPD:
      case ZYDIS_MNEMONIC_MOVDQA: case ZYDIS_MNEMONIC_MOVDQU: case ZYDIS_MNEMONIC_LDDQU: case ZYDIS_MNEMONIC_MOVNTDQ:
      case ZYDIS_MNEMONIC_MOVNTDQA: case ZYDIS_MNEMONIC_MOVNTPS: case ZYDIS_MNEMONIC_MOVNTPD:
      case ZYDIS_MNEMONIC_VMOVUPS: case ZYDIS_MNEMONIC_VMOVUPD: case ZYDIS_MNEMONIC_VMOVAPS:
      case ZYDIS_MNEMONIC_VMOVAPD: case ZYDIS_MNEMONIC_VMOVDQA: case ZYDIS_MNEMONIC_VMOVDQU:
      case ZYDIS_MNEMONIC_VMOVDQA32: case ZYDIS_MNEMONIC_VMOVDQA64: case ZYDIS_MNEMONIC_VMOVDQU8:
      case ZYDIS_MNEMONIC_VMOVDQU16: case ZYDIS_MNEMONIC_VMOVDQU32: case ZYDIS_MNEMONIC_VMOVDQU64:
      case ZYDIS_MNEMONIC_VLDDQU: case ZYDIS_MNEMONIC_VMOVNTDQ: case ZYDIS_MNEMONIC_VMOVNTDQA:
      case ZYDIS_MNEMONIC_VMOVNTPS: case ZYDIS_MNEMONIC_VMOVNTPD:
        break;
      default:
        return Outcome::unknown;
    }
    const bool stores = memory_ == operands[0];
    const Operand& other = stores ? *operands[1] : *operands[0];
    if (other.type != ZYDIS_OPERAND_TYPE_REGISTER || !is_vector(other.reg.value)) return Outcome::unknown;
    const unsigned number = number_of(other.reg.value);
    const unsigned count = bytes(*memory_);
    std::array<std::byte, 64> value{};
    if (stores) {
      if (!state_.vector(number, value.data(), high ? 16 : count)) return Outcome::unknown;
      return outcome(store(address_of(*memory_), value.data() + (high ? 8 : 0), count));
    }
    if (three && !is_vector(operands[1]->reg.value)) return Outcome::unknown;
    // What the other half keeps comes from the destination, or the first source.
    std::array<std::byte, 64> kept{};
    if ((high || low) &&
        !state_.vector(three ? number_of(operands[1]->reg.value) : number, kept.data(), 16))
      return Outcome::unknown;
    if (!load(address_of(*memory_), value.data() + (high ? 8 : 0), count)) return Outcome::failed;
    if (high) std::copy_n(kept.begin(), 8, value.begin());
    if (low) std::copy_n(kept.begin() + 8, 8, value.begin() + 8);
    // A scalar clears the rest of its 16 bytes.
    const std::size_t set = scalar || high || low ? 16 : count;
    return state_.set_vector(number, value.data(), set, encoded_with_vex) ? Outcome::made : Outcome::unknown;
  }

  // ---- strings

  Outcome string() {
    enum class Kind { move, store, load } kind;
    unsigned width = 1;
    switch (instruction_.mnemonic) {
      case ZYDIS_MNEMONIC_MOVSB: kind = Kind::move; break;
      case ZYDIS_MNEMONIC_MOVSW: kind = Kind::move, width = 2; break;
      case ZYDIS_MNEMONIC_MOVSD: kind = Kind::move, width = 4; break;
      case ZYDIS_MNEMONIC_MOVSQ: kind = Kind::move, width = 8; break;
      case ZYDIS_MNEMONIC_STOSB: kind = Kind::store; break;
      case ZYDIS_MNEMONIC_STOSW: kind = Kind::store, width = 2; break;
      case ZYDIS_MNEMONIC_STOSD: kind = Kind::store, width = 4; break;
      case ZYDIS_MNEMONIC_STOSQ: kind = Kind::store, width = 8; break;
      case ZYDIS_MNEMONIC_LODSB: kind = Kind::load; break;
      case ZYDIS_MNEMONIC_LODSW: kind = Kind::load, width = 2; break;
      case ZYDIS_MNEMONIC_LODSD: kind = Kind::load, width = 4; break;
      case ZYDIS_MNEMONIC_LODSQ: kind = Kind::load, width = 8; break;
      default: return Outcome::unknown;
    }
    if (instruction_.address_width != 64) return Outcome::unknown;
    const bool repeats = (instruction_.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    const std::uint64_t step =
        (state_.flags() & X86State::kDirectionFlag) != 0 ? -std::uint64_t{width} : std::uint64_t{width};
    std::uint64_t left = repeats ? state_.general(kRcx) : 1;
    const std::uint64_t now = std::min<std::uint64_t>(left, kStringElements);
    for (std::uint64_t i = 0; i < now; ++i) {
      std::uint64_t value = state_.general(kRax);
      const std::uint64_t from = state_.general(kRsi), to = state_.general(kRdi);
      if (kind != Kind::store && !load(from, &value, width)) return Outcome::failed;
      if (kind != Kind::load && !store(to, &value, width)) return Outcome::failed;
      if (kind == Kind::load) {
        const std::uint64_t mask = low_bytes(~std::uint64_t{0}, width);
        const std::uint64_t rax = state_.general(kRax);
        state_.set_general(kRax, width >= 4 ? value & mask : (rax & ~mask) | (value & mask));
      }
      if (kind != Kind::store) state_.set_general(kRsi, from + step);
      if (kind != Kind::load) state_.set_general(kRdi, to + step);
      if (repeats) state_.set_general(kRcx, --left);
    }
    if (!repeats || left == 0) state_.set_next(state_.next() + instruction_.length);
    return Outcome::made;
  }

  const ZydisDecodedInstruction& instruction_;
  const std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT>& operands_;
  X86State& state_;
  TrapBus& bus_;
  const std::uint64_t fault_;
  Error& failure_;
  const Operand* memory_ = nullptr;
};

std::optional<X86Instruction> X86Instruction::decode(const void* code, std::size_t bytes) {
  ZydisDecoder decoder;
  if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, kMode, ZYDIS_STACK_WIDTH_64))) return {};
  std::optional<X86Instruction> made(std::in_place);
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, bytes, &made->instruction_, made->operands_.data()))) return {};
  return made;
}

X86Instruction::Outcome X86Instruction::make(X86State& state, TrapBus& bus, std::uint64_t fault, Error& failure) const {
  return Making(*this, state, bus, fault, failure).make();
}

std::string X86Instruction::text(std::uint64_t address) const {
  ZydisFormatter formatter;
  char line[96];
  if (!ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
      !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &instruction_, operands_.data(),
                                                    instruction_.operand_count_visible, line, sizeof line, address, nullptr)))
    return "an instruction";
  return line;
}

}  // namespace pviommu::vfio
