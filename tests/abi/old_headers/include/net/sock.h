/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The sockets: where their fields moved, the version says so. */
#pragma once

#include <linux/types.h>
#include <linux/version.h>

#define offsetof(type, member) __builtin_offsetof(type, member)

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct net {
	atomic_t passive, count;
	struct {
		void *ops;
		unsigned int inum;
	} ns;
};

struct sock_common {
	union {
		u64 skc_addrpair;
		struct {
			__be32 skc_daddr, skc_rcv_saddr;
		};
	};
	unsigned int skc_hash;
	union {
		u32 skc_portpair;
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuse : 4, skc_reuseport : 1, skc_ipv6only : 1, skc_net_refcnt : 1;
	int skc_bound_dev_if;
	struct {
		struct net *net;
	} skc_net;
	u8 skc_v6_daddr[16], skc_v6_rcv_saddr[16];
};

/* Beside the bit-fields their bytes, to compare with: the kernel has no such names. */
#define FLAGS                                                                     \
	union {                                                                   \
		struct {                                                          \
			unsigned int sk_flags : 8, sk_protocol : 8, sk_type : 16; \
		};                                                                \
		u8 flag_bytes[4];                                                 \
	}

struct sock {
	struct sock_common __sk_common;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
	atomic_t sk_drops;
#endif
	struct {
		atomic_t rmem_alloc;
		int len;
		void *head, *tail;
	} sk_backlog;
#if LINUX_VERSION_CODE < KERNEL_VERSION(4, 10, 0)
	atomic_t sk_drops;
	int sk_rcvbuf;
	atomic_t sk_wmem_alloc, sk_omem_alloc;
	int sk_sndbuf;
	FLAGS;
	int sk_wmem_queued;
	u32 sk_gso_max_size;
	u16 sk_gso_max_segs;
	void *sk_filter;
	struct socket *sk_socket;
#else
	int sk_rcvbuf;
	void *sk_filter;
	int sk_sndbuf, sk_wmem_queued;
#if LINUX_VERSION_CODE < KERNEL_VERSION(4, 13, 0)
	atomic_t sk_wmem_alloc;
#else
	refcount_t sk_wmem_alloc;
#endif
	u32 sk_gso_max_size;
	FLAGS;
	u16 sk_gso_max_segs;
	kuid_t sk_uid;
	struct socket *sk_socket;
#endif
};

struct socket {
	int state;
	struct sock *sk;
};

struct inode {
	unsigned short i_mode;
	kuid_t i_uid;
	void *i_mapping;
	unsigned long i_ino;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct sk_buff {
	struct sk_buff *next, *prev;
	struct sock *sk;
	char cb[48] __attribute__((aligned(8)));
	void (*destructor)(struct sk_buff *skb);
	unsigned int len, data_len, truesize;
};
