#include "textflag.h"

// func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL sub+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET

// Each loop writes back lines (at least one) from first on and ends with a store fence.

// func clwb(first unsafe.Pointer, lines uintptr)
TEXT ·clwb(SB), NOSPLIT, $0-16
	MOVQ first+0(FP), AX
	MOVQ lines+8(FP), CX
clwbNext:
	CLWB (AX)
	ADDQ $64, AX
	DECQ CX
	JNZ  clwbNext
	SFENCE
	RET

// func clflushopt(first unsafe.Pointer, lines uintptr)
TEXT ·clflushopt(SB), NOSPLIT, $0-16
	MOVQ first+0(FP), AX
	MOVQ lines+8(FP), CX
clflushoptNext:
	CLFLUSHOPT (AX)
	ADDQ $64, AX
	DECQ CX
	JNZ  clflushoptNext
	SFENCE
	RET

// func clflush(first unsafe.Pointer, lines uintptr)
TEXT ·clflush(SB), NOSPLIT, $0-16
	MOVQ first+0(FP), AX
	MOVQ lines+8(FP), CX
clflushNext:
	CLFLUSH (AX)
	ADDQ $64, AX
	DECQ CX
	JNZ  clflushNext
	SFENCE
	RET
