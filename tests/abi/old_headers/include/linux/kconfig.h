/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_NET_NS 1
#define CONFIG_IPV6 1
#define IS_ENABLED(option) (option)
