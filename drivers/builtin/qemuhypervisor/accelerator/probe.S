# What the probe runs in place of a firmware: the way every guest goes, real
# mode to protected mode to long mode, then enough work to tell hardware from
# emulation, with instructions that kernels use and emulators lack. It reports
# by writing to the pvpanic port.
#
#   as --64 probe.S -o probe.o && ld -Ttext=0xff000 -nostdlib --oformat=binary probe.o -o probe.bin

	.set PML4, 0x1000
	.set PDPT, 0x2000
	.set DIRECTORY, 0x3000
	.set STACK, 0x7000
	.set OPERAND, 0x8000
	.set ROUNDS, 20000000

	.text
	.globl _start
_start:
	.code16
real:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl %cs:(gdt_pointer - _start + 0xf000)
	movl %cr0, %eax
	andl $0x9fffffff, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x08, $protected

	.code32
protected:
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $STACK, %esp
	movl $PML4, %edi
	xorl %eax, %eax
	movl $0xc00, %ecx
	rep stosl
	movl $(PDPT + 3), PML4
	movl $(DIRECTORY + 3), PDPT
	movl $0x83, DIRECTORY
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $PML4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	ljmpl $0x18, $long

	.code64
long:
	movl $ROUNDS, %ecx
1:	addq %rcx, %rax
	subl $1, %ecx
	jnz 1b

	xorl %eax, %eax
	xorl %edx, %edx
	movl $5, %ebx
	xorl %ecx, %ecx
	movl $OPERAND, %edi
	movq %rax, (%rdi)
	movq %rax, 8(%rdi)
	lock cmpxchg16b (%rdi)
	jnz 3f

	movl $STACK, %esp
	movl $0x10, %eax
	pushq %rax
	movl $STACK, %eax
	pushq %rax
	pushfq
	pushq $0x18
	leaq 2f(%rip), %rax
	pushq %rax
	iretq
2:	movw $0x505, %dx
	movb $1, %al
	outb %al, %dx
3:	hlt
	jmp 3b

	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00af9b000000ffff
gdt_pointer:
	.word 31
	.long gdt

	.org 0xff0
	.code16
	ljmpw $0xf000, $0xf000
	.org 0xfff
	.byte 0
