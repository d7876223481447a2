/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What makes programs cheaper and only newer kernels take. The loader turns each shortcut on by itself, here
 * it has its way without. sockbpf/kernel/build/shortcuts.py is the other half and gives the numbers by -D;
 * docs/kernel-tricks.md says why each is there.
 */
#ifndef SOCKBPF_SHORTCUTS_H
#define SOCKBPF_SHORTCUTS_H

/* The destination is zeroed first: 4.4's verifier wants it initialised. A failed read leaves 0. */
#define READ_FIELD(type, base, offset)                                                   \
	({                                                                               \
		type value_ = 0;                                                         \
		bpf_probe_read_kernel(&value_, sizeof(value_), (void *)(base) + offset); \
		value_;                                                                  \
	})

/*
 * What every packet is judged by is read by an instruction where the kernel lets a pointer be given its type
 * (6.2, bpf_rdonly_cast in kernel/bpf/helpers.c), and by a call where not; a failed read gives 0 either way.
 * What is called is no helper but a function of the kernel: the loader takes KERNEL_FUNCTION off its number.
 */
#if defined(WITH_CASTS) && defined(BTF_ID_bpf_rdonly_cast)
#define AS(type, pointer)                                                                         \
	((const void *(*)(const void *, u32))(KERNEL_FUNCTION + BTF_ID_bpf_rdonly_cast))(pointer, \
											 BTF_ID_##type)
#define HOT_FIELD(type, base, offset) (*(volatile type *)((base) + offset))
#else
#define AS(type, pointer) ((const void *)(pointer))
#define HOT_FIELD READ_FIELD
#endif

/*
 * The one value of a map of one, never NULL. Its address is a constant of the program where the kernel lets
 * the loader put it there (5.2, BPF_PSEUDO_MAP_VALUE). The loader knows the map by a number, which like the
 * type is found by the map's name: neither can be another map's.
 */
#ifdef WITH_DIRECT_VALUES
#define NEVER_NULL __attribute__((returns_nonnull))
#define DIRECT_VALUE(map) ((struct map *)bpf_pseudo_fd(FROM_VALUE, DIRECT_##map))
#else
#define NEVER_NULL
#endif

#endif
