// SPDX-License-Identifier: LGPL-2.1-or-later
// Checks of a section, and texts put together without a library.
#pragma once

#include "tests/papr/platform.h"

namespace papr_suite {

/// A text of bounded length; what does not fit is cut.
class Text {
 public:
  Text() { text_[0] = '\0'; }
  Text& add(const char* more) {
    while (*more != '\0' && length_ + 1 < sizeof text_) text_[length_++] = *more++;
    text_[length_] = '\0';
    return *this;
  }
  Text& add(std::int64_t number);
  Text& hex(std::uint64_t number);
  const char* c_str() const { return text_; }

 private:
  char text_[160];
  std::size_t length_ = 0;
};

/// "H_PARAMETER (-4)"
Text text_of(Rc rc);

class Checks {
 public:
  Checks(Platform& platform, const char* section) : platform_(platform), section_(section) {}

  bool that(bool holds, const char* name, const char* otherwise = "it does not hold");
  bool equal(std::uint64_t found, std::uint64_t wanted, const char* name);
  /// An hcall's or RTAS call's answer.
  bool answer(const char* name, Rc found, Rc wanted) { return answer(name, found, wanted, wanted); }
  bool answer(const char* name, Rc found, Rc strict, Rc qemu);
  /// What a call did, where that differs.
  bool count(const char* name, unsigned found, unsigned strict, unsigned qemu);
  /// A register of one byte, which QEMU on a little-endian host has at the wrong end.
  bool bits(const char* name, std::uint64_t found, std::uint8_t wanted);
  bool done(const WindowResult& result, const char* name);
  bool refused(const WindowResult& result, Refusal wanted, const char* name);
  bool done(const RtasResult& result, const char* name);
  void skip(const char* name, const char* why);

 private:
  Text full(const char* name) const { return Text().add(section_).add(": ").add(name); }
  Platform& platform_;
  const char* section_;
};

/// Passes calls on and does something about some of them.
class PortDecorator : public Port {
 public:
  explicit PortDecorator(Port& under) : under_(under) {}
  Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) override {
    return under_.hcall(op, in, out);
  }
  Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override {
    return under_.put_tce_list(liobn, ioba, tces, count);
  }
  void wait(std::uint32_t milliseconds) override { under_.wait(milliseconds); }

 protected:
  ~PortDecorator() = default;
  Port& under_;
};

/// The same of RTAS.
class RtasDecorator : public RtasPort {
 public:
  explicit RtasDecorator(RtasPort& under) : under_(under) {}
  RtasStatus rtas(RtasCall call, const std::uint32_t* in, std::size_t ins, std::uint32_t* out,
                  std::size_t outs) override {
    return under_.rtas(call, in, ins, out, outs);
  }
  void wait(std::uint32_t milliseconds) override { under_.wait(milliseconds); }

 protected:
  ~RtasDecorator() = default;
  RtasPort& under_;
};

/// Counts calls and can refuse the n-th.
class CountingPort final : public PortDecorator {
 public:
  using PortDecorator::PortDecorator;
  Rc hcall(Hcall op, const std::uint64_t* in, std::uint64_t* out) override;
  Rc put_tce_list(Liobn liobn, Ioba ioba, const std::uint64_t* tces, std::size_t count) override;
  void wait(std::uint32_t milliseconds) override { waited += milliseconds; }

  unsigned calls = 0;
  unsigned lists = 0, stuffs = 0, puts = 0;
  std::uint64_t waited = 0;
  unsigned fail_from = 0;  ///< 0: never; 1: the first call
  unsigned fail_times = 1;
  Rc failure = kHardware;
  bool after_work = false;  ///< the call is made, and then it "fails"
  bool no_lists = false, no_stuff = false;

 private:
  bool fails();
};

/// Whether a device's DMA gets at a mapped place: patterns go out and come back.
class Probe {
 public:
  Probe(Platform& platform, Device& device);

  /// The device reads [from, +bytes) and has what `memory` holds there.
  bool reads(Ioba from, const std::uint8_t* memory, std::size_t bytes = 256);
  /// The device writes [to, +bytes), and that is what `memory` holds then.
  bool writes(Ioba to, const std::uint8_t* memory, std::size_t bytes = 256);
  /// The device got at nothing of it / changed nothing of it.
  bool cannot_read(Ioba from, const std::uint8_t* memory, std::size_t bytes = 256);
  bool cannot_write(Ioba to, const std::uint8_t* memory, std::size_t bytes = 256);

 private:
  void fill_buffer();
  const std::uint8_t* buffer();
  Platform& platform_;
  Device& device_;
  std::uint8_t* page_;  ///< mapped at the last page of the default window while used
  Ioba page_ioba_;
  std::uint8_t seed_ = 1;
};

void fill(std::uint8_t* memory, std::size_t bytes, std::uint8_t seed);
bool filled(const std::uint8_t* memory, std::size_t bytes, std::uint8_t seed);
bool all_zero(const std::uint8_t* memory, std::size_t bytes);

/// Raw calls, for sections that look at answers.
Rc put_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t tce);
Rc get_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t& tce);
Rc stuff_tce(Port& port, std::uint64_t liobn, Ioba ioba, std::uint64_t tce, std::uint64_t count);
Rc put_tce_indirect(Port& port, std::uint64_t liobn, Ioba ioba, RealAddress list, std::uint64_t count);

}  // namespace papr_suite
