// SPDX-License-Identifier: LGPL-2.1-or-later
// Puts kernel objects on a disk or an interface for holders.test.sh, which busybox has no tools for:
//
//   layers dm NAME DISK             a linear target of device mapper over the whole disk
//   layers remove NAME              takes it away
//   layers openvswitch PORT BRIDGE  a datapath ovs-system with this port and an internal one
//   layers delete DATAPATH          takes it away
//   layers claim DISK               has it open exclusively until it is killed
//   layers open FILE                has it open until it is killed
//   layers try DISK                 can have it open exclusively
//
// Ends with 0, or 1 after a line that says why not.
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/genetlink.h>
#include <linux/openvswitch.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

// ---- device mapper: Documentation/admin-guide/device-mapper/linear.rst ---------------

struct Call {
  dm_ioctl head;
  dm_target_spec target;
  char parameters[64];
};

void ask(unsigned long request, const char* name, Call call, const char* what) {
  static const int control = ::open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
  if (control < 0) die("/dev/mapper/control");
  call.head.version[0] = DM_VERSION_MAJOR;
  call.head.data_size = sizeof call;
  call.head.data_start = offsetof(Call, target);
  std::snprintf(call.head.name, sizeof call.head.name, "%s", name);
  if (::ioctl(control, request, &call) != 0) die(what);
}

void map_linear(const char* name, const char* disk) {
  const int fd = ::open(disk, O_RDONLY | O_CLOEXEC);
  std::uint64_t bytes = 0;
  struct stat about {};
  if (fd < 0 || ::ioctl(fd, BLKGETSIZE64, &bytes) != 0 || ::fstat(fd, &about) != 0) die(disk);
  ::close(fd);
  Call table{};
  table.head.target_count = 1;
  table.target.length = bytes / 512;
  std::strcpy(table.target.target_type, "linear");
  std::snprintf(table.parameters, sizeof table.parameters, "%u:%u 0", ::major(about.st_rdev),
                ::minor(about.st_rdev));
  ask(DM_DEV_CREATE, name, {}, "DM_DEV_CREATE");
  ask(DM_TABLE_LOAD, name, table, "DM_TABLE_LOAD");
  ask(DM_DEV_SUSPEND, name, {}, "DM_DEV_SUSPEND");  // without its flag: resumes
}

// ---- Open vSwitch: linux/openvswitch.h by generic netlink ---------------------------

/// A request and its attributes.
class Message {
 public:
  Message(std::uint16_t family, std::uint8_t command, std::uint8_t version) {
    nlmsghdr head{};
    head.nlmsg_type = family;
    head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    const genlmsghdr generic{.cmd = command, .version = version, .reserved = 0};
    append(&head, sizeof head);
    append(&generic, sizeof generic);
  }
  void append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
    bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
  }
  void attribute(std::uint16_t type, const void* data, std::size_t size) {
    const nlattr head{.nla_len = static_cast<std::uint16_t>(sizeof(nlattr) + size), .nla_type = type};
    append(&head, sizeof head);
    append(data, size);
  }
  void attribute(std::uint16_t type, std::uint32_t value) { attribute(type, &value, sizeof value); }
  void attribute(std::uint16_t type, const char* text) { attribute(type, text, std::strlen(text) + 1); }
  const std::string& finished() {
    reinterpret_cast<nlmsghdr*>(bytes_.data())->nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
    return bytes_;
  }

 private:
  std::string bytes_;
};

/// Sends it; the answer before the acknowledgement, if there is one.
std::string ask(int netlink, Message message, const char* what) {
  const std::string& out = message.finished();
  if (::send(netlink, out.data(), out.size(), 0) < 0) die(what);
  std::string answer;
  for (;;) {
    char in[8192];
    const ssize_t got = ::recv(netlink, in, sizeof in, 0);
    if (got < 0) die(what);
    const auto* const head = reinterpret_cast<const nlmsghdr*>(in);
    if (head->nlmsg_type == NLMSG_ERROR) {
      errno = -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(head))->error;
      if (errno != 0) die(what);
      return answer;
    }
    answer.assign(in, static_cast<std::size_t>(got));
  }
}

std::uint16_t family(int netlink, const char* name) {
  Message message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
  message.attribute(CTRL_ATTR_FAMILY_NAME, name);
  const std::string answer = ask(netlink, std::move(message), name);
  for (std::size_t at = NLMSG_HDRLEN + GENL_HDRLEN; at + sizeof(nlattr) <= answer.size();) {
    nlattr head;
    std::memcpy(&head, answer.data() + at, sizeof head);
    if (head.nla_type == CTRL_ATTR_FAMILY_ID) {
      std::uint16_t id;
      std::memcpy(&id, answer.data() + at + sizeof head, sizeof id);
      return id;
    }
    at += (head.nla_len + 3u) & ~3u;
  }
  std::fprintf(stderr, "%s: no such family\n", name);
  std::exit(1);
}

void delete_switch(const char* name) {
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  if (netlink < 0) die("netlink");
  const ovs_header header{.dp_ifindex = static_cast<int>(::if_nametoindex(name))};
  Message datapath(family(netlink, OVS_DATAPATH_FAMILY), OVS_DP_CMD_DEL, OVS_DATAPATH_VERSION);
  datapath.append(&header, sizeof header);
  ask(netlink, std::move(datapath), "delete datapath");
}

void make_switch(const char* port, const char* bridge) {
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  if (netlink < 0) die("netlink");
  const ovs_header local{.dp_ifindex = 0};
  Message datapath(family(netlink, OVS_DATAPATH_FAMILY), OVS_DP_CMD_NEW, OVS_DATAPATH_VERSION);
  datapath.append(&local, sizeof local);
  datapath.attribute(OVS_DP_ATTR_NAME, "ovs-system");
  datapath.attribute(OVS_DP_ATTR_UPCALL_PID, std::uint32_t{0});
  ask(netlink, std::move(datapath), "new datapath");
  const std::uint16_t ports = family(netlink, OVS_VPORT_FAMILY);
  const ovs_header header{.dp_ifindex = static_cast<int>(::if_nametoindex("ovs-system"))};
  for (const bool is_internal : {false, true}) {
    Message vport(ports, OVS_VPORT_CMD_NEW, OVS_VPORT_VERSION);
    vport.append(&header, sizeof header);
    vport.attribute(OVS_VPORT_ATTR_NAME, is_internal ? bridge : port);
    vport.attribute(OVS_VPORT_ATTR_TYPE, is_internal ? OVS_VPORT_TYPE_INTERNAL : OVS_VPORT_TYPE_NETDEV);
    vport.attribute(OVS_VPORT_ATTR_UPCALL_PID, std::uint32_t{0});
    ask(netlink, std::move(vport), is_internal ? bridge : port);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "dm" && argc == 4) {
    map_linear(argv[2], argv[3]);
  } else if (what == "remove" && argc == 3) {
    ask(DM_DEV_REMOVE, argv[2], {}, "DM_DEV_REMOVE");
  } else if (what == "openvswitch" && argc == 4) {
    make_switch(argv[2], argv[3]);
  } else if (what == "delete" && argc == 3) {
    delete_switch(argv[2]);
  } else if (what == "try" && argc == 3) {
    if (::open(argv[2], O_RDONLY | O_EXCL | O_CLOEXEC) < 0) die(argv[2]);
  } else if ((what == "claim" || what == "open") && argc == 3) {
    if (::open(argv[2], O_RDONLY | (what == "claim" ? O_EXCL : 0)) < 0) die(argv[2]);
    std::puts("open");
    std::fflush(stdout);
    for (;;) ::pause();
  } else {
    std::fputs("usage: layers dm|remove|openvswitch|delete|claim|open|try ARGUMENT...; see layers.cc\n", stderr);
    return 1;
  }
  return 0;
}
