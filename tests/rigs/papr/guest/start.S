/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Entered in big-endian mode, 32 bits, no translation, r3 = device tree.  The
 * first instructions are therefore written as the bytes of big-endian code; they
 * return from an interrupt that never was, into little-endian mode of 64 bits.
 */
	.macro	big word
	.byte	((\word) >> 24) & 0xff, ((\word) >> 16) & 0xff, ((\word) >> 8) & 0xff, (\word) & 0xff
	.endm

	.section .text.start, "ax"
	.abiversion 2
	.globl	_start
_start:
	big	0x7d6000a6		/* mfmsr   r11 */
	big	0x696b0001		/* xori    r11, r11, 1   the LE bit */
	big	0x39400001		/* li      r10, 1 */
	big	0x794af806		/* sldi    r10, r10, 63 */
	big	0x7d6b5378		/* or      r11, r11, r10 the SF bit: 64 bits */
	big	0x656b0280		/* oris    r11, r11, 0x280   vectors, */
	big	0x616b2000		/* ori     r11, r11, 0x2000  floating point: the compiler may use them */
	big	0x3d800040		/* lis     r12, 0x40     0x400000, where we are */
	big	0x618c0000 + (little - _start)	/* ori r12, r12, little */
	big	0x7d9a03a6		/* mtsrr0  r12 */
	big	0x7d7b03a6		/* mtsrr1  r11 */
	big	0x4c000024		/* rfid */

little:
	lis	%r1, stack_top@h
	ori	%r1, %r1, stack_top@l
	li	%r0, 0
	stdu	%r0, -64(%r1)
	/* A function finds its TOC from its own address in r12. */
	lis	%r12, guest_main@h
	ori	%r12, %r12, guest_main@l
	mtctr	%r12
	bctrl
1:	b	1b

/* long hypervisor_call(op, const u64 in[9], u64 out[9]); r3 is the answer. */
	.text
	.globl	hypervisor_call
	.type	hypervisor_call, @function
hypervisor_call:
	std	%r31, -8(%r1)
	mr	%r31, %r5
	mr	%r11, %r4
	ld	%r4, 0(%r11)
	ld	%r5, 8(%r11)
	ld	%r6, 16(%r11)
	ld	%r7, 24(%r11)
	ld	%r8, 32(%r11)
	ld	%r9, 40(%r11)
	ld	%r10, 48(%r11)
	ld	%r12, 64(%r11)
	ld	%r11, 56(%r11)
	sc	1
	std	%r4, 0(%r31)
	std	%r5, 8(%r31)
	std	%r6, 16(%r31)
	std	%r7, 24(%r31)
	std	%r8, 32(%r31)
	std	%r9, 40(%r31)
	std	%r10, 48(%r31)
	std	%r11, 56(%r31)
	std	%r12, 64(%r31)
	ld	%r31, -8(%r1)
	blr

	.section .note.GNU-stack, "", @progbits
