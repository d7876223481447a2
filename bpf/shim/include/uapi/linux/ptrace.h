/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The registers a kprobe program is given; a fixed ABI (arch/<arch>/include/uapi/asm/ptrace.h and its kin). */
#ifndef SHIM_UAPI_LINUX_PTRACE_H
#define SHIM_UAPI_LINUX_PTRACE_H

#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
struct pt_regs {
	unsigned long long regs[31];
	unsigned long long sp;
	unsigned long long pc;
	unsigned long long pstate;
};
#else
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#endif

#endif
