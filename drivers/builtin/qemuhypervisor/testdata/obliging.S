# A guest that does at once what the hardware asks of it, and nothing else: it lets go of devices that are to be
# unplugged, and powers off when the power button is pressed. It is a boot sector, so that it runs as soon as the
# firmware is done, and sleeps between two looks.
#
#   as --32 obliging.S -o obliging.o && ld -m elf_i386 -Ttext=0x7c00 -nostdlib --oformat=binary obliging.o -o obliging.bin

	.set SERIAL, 0x3f8
	.set PM_STATUS, 0x600 # ICH9's power management as SeaBIOS places it
	.set PM_ENABLE, 0x602
	.set PM_CONTROL, 0x604
	.set POWER_BUTTON, 0x100
	.set SLEEP, 0x2000 # in the deepest state, which is off
	.set HOTPLUG_DOWN, 0xcc4 # ACPI's PCI hot plug as QEMU places it for q35
	.set HOTPLUG_EJECT, 0xcc8
	.set HOTPLUG_BUS, 0xcd0
	.set BUSES, 32

	.code16
	.text
	.globl _start
_start:
	ljmpw $0, $begin
begin:
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	movw $0x7c00, %sp
	movw $PM_ENABLE, %dx
	movw $POWER_BUTTON, %ax
	outw %ax, %dx
	movw $words, %si
	movw $SERIAL, %dx
say:
	lodsb
	testb %al, %al
	jz look
	outb %al, %dx
	jmp say

look:
	movw $PM_STATUS, %dx
	inw %dx, %ax
	testw $POWER_BUTTON, %ax
	jnz off
	xorl %ecx, %ecx
bus:
	movw $HOTPLUG_BUS, %dx
	movl %ecx, %eax
	outl %eax, %dx
	movw $HOTPLUG_DOWN, %dx
	inl %dx, %eax
	testl %eax, %eax
	jz next
	movw $HOTPLUG_EJECT, %dx
	outl %eax, %dx
next:
	incw %cx
	cmpw $BUSES, %cx
	jb bus
	sti
	hlt # until the timer ticks
	jmp look

off:
	movw $PM_CONTROL, %dx
	movw $SLEEP, %ax
	outw %ax, %dx
	hlt
	jmp off

words:
	.asciz "OBLIGING GUEST READY\r\n"
	.org 510
	.word 0xaa55
