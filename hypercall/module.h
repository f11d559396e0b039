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

/* 2: diagnose() and reap() hand over rows; 1 had them write JSON into a buffer. */
#define PVIOMMU_MODULE_API_VERSION 2u

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

/* What a look at the machine found: a row of diagnose().  No string is NULL;
 * they are the module's and read only during the call that hands them over. */
struct pviommu_check {
  const char *check;        /* what was looked at; PVIOMMU_CHECK_RUN_STEP: a step of a run */
  uint32_t state;           /* PVIOMMU_CHECK_* */
  const char *detail;       /* what was found */
  const char *remedy;       /* what to do; "": there is nothing to do */
};
#define PVIOMMU_CHECK_OK 0u
#define PVIOMMU_CHECK_WARNING 1u
#define PVIOMMU_CHECK_PROBLEM 2u
#define PVIOMMU_CHECK_UNKNOWN 3u
#define PVIOMMU_CHECK_RUN_STEP "run would"

/* What a dead program held: a row of reap().  Strings as in pviommu_check. */
struct pviommu_reaped {
  const char *what;
  uint32_t state;           /* PVIOMMU_REAPED_* */
};
#define PVIOMMU_REAPED_PUT_BACK 0u
#define PVIOMMU_REAPED_LEFT 1u    /* by a dry run, or because a guardian is at work on it */
#define PVIOMMU_REAPED_PROBLEM 2u /* could not be put back */

/* Where the hypervisor has a device: keeper(), set_keeper(). */
#define PVIOMMU_KEEPER_UNKNOWN 0u    /* it does not say */
#define PVIOMMU_KEEPER_HOST 1u       /* with the host, whose drivers can use it */
#define PVIOMMU_KEEPER_QUARANTINE 2u /* set aside: its DMA and its interrupts reach nobody */
#define PVIOMMU_KEEPER_SPACE 3u      /* in an address space of a program, living or dead */
#define PVIOMMU_KEEPER_GUEST 4u      /* with a guest */

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

  /* ---- NULL or absent (by `size`): the module has none ---- */

  /* Looks whether what a run needs is there, without taking or changing it:
   * `conf` as for open(), `device` an address like "0000:00:05.0" or "".  Calls
   * row(to, ...) once for each check; those whose `check` is
   * PVIOMMU_CHECK_RUN_STEP are the steps of a run with the device, in order.
   * Returns 0 or a negative errno; rows given before an error count.  row()
   * lets no exception out, and neither must this. */
  int (*diagnose)(const char *conf, const char *device,
                  void (*row)(void *to, const struct pviommu_check *check), void *to);

  /* Puts back what programs that are dead still hold of the hypervisor; when
   * `dry_run` is not 0 it only says what that is.  Rows, errors and exceptions
   * as for diagnose(). */
  int (*reap)(const char *conf, int dry_run,
              void (*row)(void *to, const struct pviommu_reaped *reaped), void *to);

  /* Where the hypervisor has `device`, an address like "0000:00:05.0":
   * PVIOMMU_KEEPER_*, or a negative errno.  Changes nothing.  `conf` as for open().
   * Lets no exception out, and neither must the next one. */
  int (*keeper)(const char *conf, const char *device);

  /* Moves `device` between PVIOMMU_KEEPER_HOST and PVIOMMU_KEEPER_QUARANTINE.
   * Returns 1, 0 when it was there already, or a negative errno, when it is
   * where it was.  Other keepers: -EINVAL. */
  int (*set_keeper)(const char *conf, const char *device, uint32_t keeper);
};

/* The least `size` a module may have. */
#define PVIOMMU_MODULE_MIN_SIZE offsetof(struct pviommu_module, diagnose)

/* The one symbol looked up: `const struct pviommu_module pviommu_module_entry`. */
#define PVIOMMU_MODULE_ENTRY_SYMBOL "pviommu_module_entry"

#ifdef __cplusplus
}
#endif
#endif
