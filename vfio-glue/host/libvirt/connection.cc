// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirt keeps a last error for each thread, so it is read right after the call that failed.
#include "vfio-glue/host/libvirt/connection.h"

#include <libvirt/virterror.h>
#include <libxml/uri.h>
#include <libxml/xmlerror.h>

#include <algorithm>
#include <cstdlib>

#include "vfio-glue/host/libvirt/event_loop.h"

namespace pviommu::host {
namespace {

void say_nothing(void*, const char*, ...) {}

int last_errno() {
  switch (::virGetLastErrorCode()) {
    case VIR_ERR_NO_SUPPORT:
      return EOPNOTSUPP;
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_NODE_DEVICE:
      return ENOENT;
    case VIR_ERR_INVALID_ARG:
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_XML_ERROR:
      return EINVAL;
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_OPERATION_DENIED:
      return EACCES;
    case VIR_ERR_OPERATION_INVALID:
      return EBUSY;
    default:
      return EIO;
  }
}

}  // namespace

Error last_error(const std::string& what) {
  std::string sentence = what + ": " + ::virGetLastErrorMessage();
  std::ranges::replace(sentence, '\n', ' ');
  return Error{last_errno(), "libvirt"}.with_sentence(sentence);
}

Result<std::shared_ptr<Connection>> connect(const std::string& uri) {
  // Before the first connection: one made earlier never reports events.
  PVIOMMU_TRY(EventLoop::prepare());
  // Their words go into our one line, not to stderr.
  ::virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
  ::xmlSetGenericErrorFunc(nullptr, &say_nothing);
  using Uri = std::unique_ptr<xmlURI, void (*)(xmlURIPtr)>;
  const Uri asked(::xmlParseURI(uri.c_str()), &::xmlFreeURI);
  if (!uri.empty() && (asked == nullptr || asked->scheme == nullptr))
    return Error{EINVAL, "libvirt"}.with_sentence(
        "'" + uri + "' is no URI of libvirt; expected one like xen:///system or qemu+ssh://HOST/system");
  auto connection = std::make_shared<Connection>();
  connection->handle.reset(::virConnectOpen(uri.empty() ? nullptr : uri.c_str()));
  if (!connection->handle) {
    const virErrorPtr failed = ::virGetLastError();
    const bool system = failed != nullptr && failed->code == VIR_ERR_SYSTEM_ERROR;
    const bool nobody = system && failed->domain == VIR_FROM_RPC;
    const int system_errno = system && failed->int1 > 0 ? failed->int1 : EIO;
    Error error = last_error(uri.empty() ? "libvirt" : uri);
    if (nobody)
      return Error{ECONNREFUSED, "libvirt"}.with_sentence(to_string(error) +
                                                          "; is libvirtd running, and is the URI right?");
    // libvirt 11 says so of a file of test:///FILE that it cannot open.
    if (system) error.code = system_errno;
    return error;
  }
  const std::unique_ptr<char, void (*)(void*)> name(::virConnectGetURI(connection->handle.get()), &std::free);
  const char* type = ::virConnectGetType(connection->handle.get());
  if (name == nullptr || type == nullptr) return last_error(uri);
  connection->uri = name.get();
  connection->type = type;
  const Uri parts(::xmlParseURI(name.get()), &::xmlFreeURI);
  connection->is_remote = parts == nullptr || (parts->server != nullptr && *parts->server != '\0');
  return connection;
}

}  // namespace pviommu::host
