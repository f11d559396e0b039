// SPDX-License-Identifier: LGPL-2.1-or-later
// Cases X: what else a program can do with the descriptors of VFIO, and with memory.
// The reference has none of them; the answers on record are the rig's.
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#include "tests/conformance/answers/answers.h"

namespace conformance::answers {
namespace {

/// A descriptor that went through a socket.
Outcome send_and_receive(int fd, int* received) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return failed(errno);
  const Fd ends[] = {Fd(pair[0]), Fd(pair[1])};
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(pair[0], &message, 0) != 1) return failed(errno);
  message.msg_controllen = sizeof control;
  if (::recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) != 1) return failed(errno);
  header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) return failed(ENOMSG);
  std::memcpy(received, CMSG_DATA(header), sizeof *received);
  return ok();
}

class Any {
 public:
  Any(std::string kind, int fd, off_t offset) : kind_(std::move(kind)), fd_(fd), offset_(offset) {}
  void run() {
    waiting();
    vectors();
    moving();
    file_calls();
    descriptors();
  }

 private:
  void say(const char* name, Outcome outcome, const std::string& outputs = "-") { answer(kind_ + " " + name, outcome, outputs); }
  void say(const char* name, long result) { say(name, outcome_of(result)); }

  void waiting() {
    pollfd wait{.fd = fd_, .events = POLLIN | POLLOUT | POLLPRI, .revents = 0};
    const Outcome polled = outcome_of(::poll(&wait, 1, 0));
    say("X01 poll", polled, format("revents=0x%x", static_cast<unsigned>(wait.revents)));
    fd_set read, write;
    FD_ZERO(&read);
    FD_ZERO(&write);
    FD_SET(fd_, &read);
    FD_SET(fd_, &write);
    timeval now{};
    const Outcome selected = outcome_of(::select(fd_ + 1, &read, &write, nullptr, &now));
    say("X02 select", selected, format("read=%d write=%d", FD_ISSET(fd_, &read) != 0, FD_ISSET(fd_, &write) != 0));
    const Fd queue(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    say("X03 epoll_ctl ADD", ::epoll_ctl(queue.get(), EPOLL_CTL_ADD, fd_, &event));
  }
  void vectors() {
    char bytes[8] = {};
    iovec two[] = {{bytes, 2}, {bytes + 2, 2}};
    const auto show = [&](const char* name, long result) {
      const Outcome outcome = outcome_of(result);
      say(name, outcome, outcome.error ? "-" : bytes_of(bytes, 4));
    };
    show("X10 preadv", ::preadv(fd_, two, 2, offset_));
    show("X11 preadv2 without flags", ::preadv2(fd_, two, 2, offset_, 0));
    show("X12 preadv2 RWF_HIPRI", ::preadv2(fd_, two, 2, offset_, RWF_HIPRI));
    show("X13 preadv2 RWF_NOWAIT", ::preadv2(fd_, two, 2, offset_, RWF_NOWAIT));
    show("X14 preadv2 unknown flag", ::preadv2(fd_, two, 2, offset_, 0x40000000));
    show("X15 preadv of nothing", ::preadv(fd_, two, 0, offset_));
    const volatile std::uintptr_t nowhere = 8;  // the compiler is not to know
    say("X17 preadv bad pointer", ::preadv(fd_, reinterpret_cast<iovec*>(nowhere), 1, offset_));
    iovec half[] = {{bytes, 2}, {reinterpret_cast<void*>(8), 2}};
    say("X18 preadv half of it bad", ::preadv(fd_, half, 2, offset_));
    say("X19 pread of 0 bytes", ::pread(fd_, bytes, 0, offset_));
    say("X20 read of 0 bytes", ::read(fd_, bytes, 0));
    say("X21 lseek SEEK_CUR", ::lseek(fd_, 0, SEEK_CUR));
    say("X22 lseek SEEK_END", ::lseek(fd_, 0, SEEK_END));
    say("X23 lseek SEEK_DATA", ::lseek(fd_, 0, SEEK_DATA));
    say("X24 lseek bad whence", ::lseek(fd_, 0, 99));
  }
  void moving() {
    int ends[2] = {-1, -1};
    (void)!::pipe2(ends, O_CLOEXEC | O_NONBLOCK);
    const Fd in(ends[0]), out(ends[1]);
    const Fd file(::memfd_create("answers", MFD_CLOEXEC));
    (void)!::ftruncate(file.get(), kPage);
    off_t at = offset_, zero = 0;
    say("X30 sendfile from it", ::sendfile(file.get(), fd_, &at, 4));
    say("X31 sendfile to it", ::sendfile(fd_, file.get(), &zero, 4));
    at = offset_;
    say("X32 splice from it", ::splice(fd_, &at, out.get(), nullptr, 4, 0));
    (void)!::write(out.get(), "abcd", 4);
    say("X33 splice to it", ::splice(in.get(), nullptr, fd_, &at, 4, 0));
    at = offset_;
    zero = 0;
    say("X34 copy_file_range from it", ::copy_file_range(fd_, &at, file.get(), &zero, 4, 0));
    say("X35 copy_file_range to it", ::copy_file_range(file.get(), nullptr, fd_, nullptr, 4, 0));
    say("X36 copy_file_range to no descriptor", ::copy_file_range(fd_, nullptr, -1, nullptr, 4, 0));
    say("X37 sendfile of nothing from it", ::sendfile(file.get(), fd_, nullptr, 0));
    say("X38 sendfile of nothing to it", ::sendfile(fd_, file.get(), nullptr, 0));
    say("X39 sendfile to no descriptor", ::sendfile(-1, fd_, &at, 4));
    say("X80 sendfile to the reading end of a pipe", ::sendfile(in.get(), fd_, &at, 4));
    say("X81 splice of nothing", ::splice(fd_, nullptr, out.get(), nullptr, 0, ~0u));
    say("X82 splice without a pipe", ::splice(fd_, &at, file.get(), &zero, 4, 0));
    say("X83 splice with unknown flags", ::splice(fd_, &at, -1, nullptr, 4, ~0u));
    say("X84 splice to the reading end of a pipe", ::splice(fd_, &at, in.get(), nullptr, 4, 0));
  }
  void file_calls() {
    struct stat about {};
    const Outcome examined = outcome_of(::fstat(fd_, &about));
    say("X40 fstat", examined, format("type=0%o size=%ld blocks=%ld", about.st_mode & S_IFMT, about.st_size, about.st_blocks));
    say("X42 ftruncate", ::ftruncate(fd_, 0));
    say("X43 fallocate", ::fallocate(fd_, 0, 0, kPage));
    say("X44 fsync", ::fsync(fd_));
    say("X45 fdatasync", ::fdatasync(fd_));
    say("X46 flock", ::flock(fd_, LOCK_SH | LOCK_NB));
    (void)::flock(fd_, LOCK_UN);
    say("X47 F_GET_SEALS", ::fcntl(fd_, F_GET_SEALS));
    say("X48 F_ADD_SEALS", ::fcntl(fd_, F_ADD_SEALS, F_SEAL_GROW));
    int left = -1;
    say("X49 FIONREAD", ::ioctl(fd_, FIONREAD, &left));
    unsigned long size = 0;
    say("X50 BLKGETSIZE64", ::ioctl(fd_, BLKGETSIZE64, &size));
    int on = 0;
    say("X51 FIONBIO off", ::ioctl(fd_, FIONBIO, &on));
    say("X52 FIOASYNC off", ::ioctl(fd_, FIOASYNC, &on));
    say("X53 F_SETFL O_NONBLOCK", ::fcntl(fd_, F_SETFL, O_NONBLOCK));
    const Outcome flags = outcome_of(::fcntl(fd_, F_GETFL));
    say("X54 F_GETFL then", flags);
    (void)::fcntl(fd_, F_SETFL, 0);
    say("X55 F_SETFL O_APPEND", ::fcntl(fd_, F_SETFL, O_APPEND));
    (void)::fcntl(fd_, F_SETFL, 0);
    say("X56 posix_fadvise", -static_cast<long>(::posix_fadvise(fd_, 0, 0, POSIX_FADV_NORMAL) != 0));
    say("X57 readahead", ::readahead(fd_, 0, kPage));
    say("X85 ftruncate below nothing", ::ftruncate(fd_, -1));
    say("X86 fallocate of nothing", ::fallocate(fd_, 0, 0, 0));
    say("X87 fallocate with an unknown mode", ::fallocate(fd_, 0x40000000, 0, kPage));
    say("X88 fallocate KEEP_SIZE", ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, kPage));
    say("X89 posix_fallocate", failed(::posix_fallocate(fd_, 0, kPage)));
    say("X90 sync_file_range", ::sync_file_range(fd_, 0, kPage, SYNC_FILE_RANGE_WRITE));
    say("X91 sync_file_range unknown flag", ::sync_file_range(fd_, 0, kPage, 0x100));
    say("X58 fchdir", ::fchdir(fd_));
    say("X59 F_NOTIFY", ::fcntl(fd_, F_NOTIFY, 0));
  }
  void descriptors() {
    say("X60 close-on-exec as opened", ::fcntl(fd_, F_GETFD));
    const auto same = [&](const char* name, int made) {
      const Outcome outcome = outcome_of(made);
      const Fd copy(made);
      char bytes[4] = {};
      const Outcome read = outcome_of(::pread(made, bytes, 4, offset_));
      say(name, outcome.error ? outcome : ok(),
          format("flags=%d read=%ld", ::fcntl(made, F_GETFD), read.error ? -1L : read.value));
    };
    same("X61 dup", ::dup(fd_));
    same("X62 F_DUPFD_CLOEXEC", ::fcntl(fd_, F_DUPFD_CLOEXEC, 100));
    same("X63 dup2", ::dup2(fd_, 200));
    same("X64 dup3 O_CLOEXEC", ::dup3(fd_, 201, O_CLOEXEC));
    say("X65 dup3 unknown flag", ::dup3(fd_, 202, O_APPEND));
    say("X66 dup3 onto itself", ::dup3(fd_, fd_, 0));
    int received = -1;
    const Outcome sent = send_and_receive(fd_, &received);
    if (sent.error)
      say("X67 sent to oneself", sent);
    else
      same("X67 sent to oneself", received);
    const Fd opened(::open(format("/proc/self/fd/%d", fd_).c_str(), O_RDWR | O_CLOEXEC));
    say("X68 opened again by /proc", opened ? ok() : failed(errno));
  }

  const std::string kind_;
  const int fd_;
  const off_t offset_;
};

}  // namespace

void descriptors() {
  Session session(Machine::get().edu);
  Any("container", session.container.fd(), 0).run();
  Any("device", session.device.fd(), static_cast<off_t>(std::uint64_t{7} << 40)).run();
}

}  // namespace conformance::answers
