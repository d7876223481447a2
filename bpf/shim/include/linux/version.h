/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Only compared by BCC's own headers; nothing here asks for the kernel's version. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 0, 0)
