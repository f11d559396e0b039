/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a loadable module exports: one C structure, size and API version first,
 * so that it can grow at its end.  A module built against an older header has a
 * smaller `size`; members beyond it are taken as absent.
 *
 * The objects behind the void pointers are C++ interfaces
 * (pviommu::Hypervisor, pviommu::IommuDriver); they follow the C++ ABI of the
 * library's SONAME. */
#ifndef PVIOMMU_HYPERCALL_MODULE_H
#define PVIOMMU_HYPERCALL_MODULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PVIOMMU_MODULE_API_VERSION 1u

#define PVIOMMU_MODULE_HYPERVISOR 1u   /* open() returns a pviommu::Hypervisor* */
#define PVIOMMU_MODULE_IOMMU_DRIVER 2u /* open() returns a pviommu::IommuDriver* */
#define PVIOMMU_MODULE_HOST 3u         /* open() returns a pviommu::host::HostConnection*; conf is a URI */

struct pviommu_open_args {
  size_t size;              /* sizeof(struct pviommu_open_args) of the caller */
  const char *conf;         /* what stood behind NAME:, never NULL */
  void *hypervisor;         /* pviommu::Hypervisor* the driver works on; NULL for hypervisors */
  char *message;            /* for a line that says what was wrong and what would be right */
  size_t message_size;      /* bytes at `message`, the terminating 0 included */
};

struct pviommu_module {
  size_t size;              /* sizeof(struct pviommu_module) of the module */
  uint32_t api_version;     /* PVIOMMU_MODULE_API_VERSION */
  uint32_t kind;            /* PVIOMMU_MODULE_* */
  const char *name;         /* the NAME of NAME:CONF; the file is pviommu-NAME.so */
  const char *description;  /* one line */
  /* Makes an instance, or returns NULL with a positive errno in *error.  Must
   * not let an exception out.  The caller deletes the instance through the C++
   * interface. */
  void *(*open)(const struct pviommu_open_args *args, int *error);

  /* ---- since 0.2; NULL or absent (by `size`): the module has none ---- */

  /* Looks whether what a run needs is there, without taking or changing it:
   * `conf` as for open(), `device` an address like "0000:00:05.0" or "".  Writes
   * a JSON array of objects {"check", "state", "detail", "remedy"}, all strings,
   * "state" one of ok warning problem unknown; elements whose "check" is
   * "run would" are the steps of a run with the device, in order.  Returns the
   * length without the terminating 0, of which at most `size` - 1 bytes were
   * written, or a negative errno.  Must not let an exception out. */
  int (*diagnose)(const char *conf, const char *device, char *json, size_t size);

  /* Puts back what programs that are dead still hold of the hypervisor; with
   * `dry_run` only says what that is.  Writes a JSON array of objects {"what",
   * "state"}, both strings, "state" one of "put back", "left" (dry run, or a
   * guardian is at work on it) and "problem".  Length and errors as diagnose(). */
  int (*reap)(const char *conf, int dry_run, char *json, size_t size);
};

/* The least `size` a module may have: that of pviommu 0.1. */
#define PVIOMMU_MODULE_MIN_SIZE offsetof(struct pviommu_module, diagnose)

/* The one symbol looked up: `const struct pviommu_module pviommu_module_entry`. */
#define PVIOMMU_MODULE_ENTRY_SYMBOL "pviommu_module_entry"

#ifdef __cplusplus
}
#endif
#endif
