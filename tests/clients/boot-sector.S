// SPDX-License-Identifier: LGPL-2.1-or-later
// A disk that shows that the BIOS can drive it.
//
//   LBA 0      this code, loaded by the BIOS at 0x7c00, drive number in DL
//   LBA 1      a message, zero-terminated; the test puts it there
//   LBA 2048   READ_BLOCKS blocks that the code reads ...
//   LBA 4096   ... and writes here
//
// All transfers are INT 13h extended reads and writes (AH=42h, 43h), so they go
// through the BIOS's own driver of the controller.  The message goes to COM1
// after the blocks were read, then the machine is switched off by ACPI.
        .code16
        .globl start
start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        sti
        movb    %dl, drive

        movw    $message_packet, %si
        movb    $0x42, %ah
        call    transfer
        movw    $data_packet, %si
        movb    $0x42, %ah
        call    transfer
        movl    $4096, data_block
        movw    $data_packet, %si
        movw    $0x4300, %ax            // AL: no verify
        call    transfer

        movw    $0x7e00, %si
        call    print
        jmp     off

transfer:
        movb    drive, %dl
        int     $0x13
        jc      bad
        ret
bad:
        movw    $failed, %si
        call    print
off:
        movw    $0x604, %dx             // PM1a_CNT: SLP_TYP 0, SLP_EN
        movw    $0x2000, %ax
        outw    %ax, %dx
1:      hlt
        jmp     1b

print:
        movw    $0x3f8 + 5, %dx         // line status: wait for the transmitter
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        lodsb
        testb   %al, %al
        jz      2f
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     print
2:      ret

        .balign 4
message_packet:
        .word   16, 1                   // size of the packet, blocks
        .word   0x7e00, 0               // to offset, segment
        .quad   1                       // from LBA
data_packet:
        .word   16, READ_BLOCKS
        .word   0, 0x1000
data_block:
        .quad   2048
drive:  .byte   0
failed: .asciz  "INT 13h failed\r\n"

        .org    510
        .word   0xaa55
