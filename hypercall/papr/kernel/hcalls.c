// SPDX-License-Identifier: GPL-2.0
/*
 * The four hcalls: each is made again when the hypervisor is busy, for as long as that is
 * reasonable, and counted.  With owner->lock, which keeps the counters and the list.
 */
#include <linux/delay.h>
#include <linux/minmax.h>
#include <linux/sched.h>

#include <asm/hvcall.h>

#include "papr.h"

#define BUSY_TRIES 1000
#define BUSY_MSECS 5000

struct patience {
	unsigned int tries, msecs;
};

/* True after a wait when the call is to be made again. */
static bool again(struct owner *o, struct patience *p, long rc)
{
	unsigned int msecs;

	if (rc != H_BUSY && !H_IS_LONG_BUSY(rc))
		return false;
	o->counts.busy++;
	if (rc == H_BUSY) {
		if (p->tries++ >= BUSY_TRIES)
			return false;
		cond_resched();
		return true;
	}
	if (p->msecs >= BUSY_MSECS)
		return false;
	msecs = min(get_longbusy_msecs(rc), BUSY_MSECS - p->msecs);
	p->msecs += msecs;
	msleep(msecs);
	return true;
}

long papr_put_tce(struct owner *o, struct window *w, u64 entry, u64 tce)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.put_tce++;
		rc = plpar_hcall_norets(H_PUT_TCE, (u64)w->liobn,
					w->first + (entry << TCE_SHIFT), tce);
	} while (again(o, &p, rc));
	return rc;
}

long papr_put_tce_indirect(struct owner *o, struct window *w, u64 entry, u64 count)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.put_tce_indirect++;
		rc = plpar_hcall_norets(H_PUT_TCE_INDIRECT, (u64)w->liobn,
					w->first + (entry << TCE_SHIFT), __pa(o->list), count);
	} while (again(o, &p, rc));
	return rc;
}

static long stuff_tce(struct owner *o, struct window *w, u64 entry, u64 count)
{
	struct patience p = {};
	long rc;

	do {
		o->counts.stuff_tce++;
		rc = plpar_hcall_norets(H_STUFF_TCE, (u64)w->liobn,
					w->first + (entry << TCE_SHIFT), 0ul, count);
	} while (again(o, &p, rc));
	return rc;
}

long papr_get_tce(struct owner *o, struct window *w, u64 entry, u64 *tce)
{
	unsigned long out[PLPAR_HCALL_BUFSIZE];
	struct patience p = {};
	long rc;

	do {
		o->counts.get_tce++;
		rc = plpar_hcall(H_GET_TCE, out, (u64)w->liobn, w->first + (entry << TCE_SHIFT));
	} while (again(o, &p, rc));
	*tce = out[0];
	return rc;
}

/* Empties entries; *done of them are when it fails. */
long papr_clear_entries(struct owner *o, struct window *w, u64 entry, u64 count, u64 *done)
{
	long rc;

	for (*done = 0; *done < count;) {
		u64 part = min_t(u64, count - *done, PVIOMMU_PAPR_MAX_TCES), i;

		if (part > 1 && stuff_tce(o, w, entry + *done, part) == H_SUCCESS) {
			*done += part;
			cond_resched();
			continue;
		}
		/* H_FUNCTION, or something is wrong: then it is tried one by one, twice. */
		for (i = 0; i < part; i++, ++*done) {
			rc = papr_put_tce(o, w, entry + *done, 0);
			if (rc != H_SUCCESS)
				rc = papr_put_tce(o, w, entry + *done, 0);
			if (rc != H_SUCCESS)
				return rc;
		}
		cond_resched();
	}
	return H_SUCCESS;
}
