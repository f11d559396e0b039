/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a hypervisor may answer and QEMU's does not.  module-answers.test.sh includes it in
 * a copy of the kernel module, before the first hcall; `insmod pviommu_papr.ko answer=N`.
 */
#include <linux/moduleparam.h>
#include <asm/hvcall.h>

static unsigned int answer;
module_param(answer, uint, 0);

static long answered(unsigned long op, const unsigned long *a)
{
	static unsigned int asked;
	static bool entered;
	bool list = op == H_PUT_TCE_INDIRECT, stuff = op == H_STUFF_TCE;

	switch (answer) {
	case 1: /* there are no lists */
		if (list || stuff)
			return H_FUNCTION;
		break;
	case 2: /* busy, for a while */
		if (list && asked++ < 4)
			return asked == 4 ? H_LONG_BUSY_ORDER_10_MSEC : H_BUSY;
		break;
	case 3: /* and for ever */
		if (list)
			return H_LONG_BUSY_ORDER_1_SEC;
		break;
	case 4: /* half of a list is done */
		if (list) {
			plpar_hcall_norets(op, a[0], a[1], a[2], a[3] / 2);
			return H_PARAMETER;
		}
		break;
	case 5: /* several cannot be emptied at once, nor every second one at the first try */
		if (stuff || (op == H_PUT_TCE && !a[2] && asked++ % 2 == 0))
			return H_HARDWARE;
		break;
	case 6: /* once there are entries none can be emptied */
		if (entered && (stuff || (op == H_PUT_TCE && !a[2])))
			return H_HARDWARE;
		entered |= list;
		break;
	}
	if (op == H_PUT_TCE)
		return plpar_hcall_norets(op, a[0], a[1], a[2]);
	return plpar_hcall_norets(op, a[0], a[1], a[2], a[3]);
}
#define plpar_hcall_norets(op, ...) answered(op, (const unsigned long[]){ __VA_ARGS__ })
