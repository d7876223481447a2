/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where the fields lie, from the kernel's own header package: for kernels without BTF (4.4, 4.15).
 * With BTF the loader passes the same names by -D, see sockbpf/kernel/build/layout.py.
 */
#ifndef SOCKBPF_LAYOUT_H
#define SOCKBPF_LAYOUT_H

#include <net/sock.h>
#include <net/inet_sock.h>
#include <net/tcp.h>
#include <linux/udp.h>

#define OFF_skc_daddr offsetof(struct sock, __sk_common.skc_daddr)
#define OFF_skc_rcv_saddr offsetof(struct sock, __sk_common.skc_rcv_saddr)
#define OFF_skc_dport offsetof(struct sock, __sk_common.skc_dport)
#define OFF_skc_num offsetof(struct sock, __sk_common.skc_num)
#define OFF_skc_family offsetof(struct sock, __sk_common.skc_family)
#define OFF_skc_state offsetof(struct sock, __sk_common.skc_state)
#ifdef CONFIG_NET_NS
#define OFF_skc_net offsetof(struct sock, __sk_common.skc_net)
#define OFF_net_ns_inum offsetof(struct net, ns.inum)
#endif
#if IS_ENABLED(CONFIG_IPV6)
#define OFF_skc_v6_daddr offsetof(struct sock, __sk_common.skc_v6_daddr)
#define OFF_skc_v6_rcv_saddr offsetof(struct sock, __sk_common.skc_v6_rcv_saddr)
#endif
#define OFF_sk_rmem_alloc offsetof(struct sock, sk_backlog.rmem_alloc)
#define OFF_sk_wmem_alloc offsetof(struct sock, sk_wmem_alloc)
#define OFF_sk_rcvbuf offsetof(struct sock, sk_rcvbuf)
#define OFF_sk_sndbuf offsetof(struct sock, sk_sndbuf)
#define OFF_sk_wmem_queued offsetof(struct sock, sk_wmem_queued)
#define OFF_sk_drops offsetof(struct sock, sk_drops)
#define OFF_sk_socket offsetof(struct sock, sk_socket)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
#define OFF_sk_uid offsetof(struct sock, sk_uid)
#else
#define OFF_socket_uid offsetof(struct socket_alloc, vfs_inode.i_uid)
#endif
#define OFF_socket_inode offsetof(struct socket_alloc, vfs_inode.i_ino)

/*
 * sk_protocol was an 8 bit field until 5.6 (bf9765145b85, "sock: Make sk_protocol a 16-bit value"):
 * it has no address. It is the second byte of a 32 bit word, sk_type the other half, that ends where the next
 * field begins:
 * sk_wmem_queued on 4.4, sk_gso_max_segs once 4.10 had moved it (9115e8cd2a0c, "net: reorganize struct sock
 * for better data locality").
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0)
#define OFF_sk_protocol offsetof(struct sock, sk_protocol)
#define SIZE_sk_protocol 2
#define OFF_sk_type offsetof(struct sock, sk_type)
#else
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
#define OFF_sk_protocol (offsetof(struct sock, sk_gso_max_segs) - 3)
#else
#define OFF_sk_protocol (offsetof(struct sock, sk_wmem_queued) - 3)
#endif
#define SIZE_sk_protocol 1
#define OFF_sk_type (OFF_sk_protocol + 1)
#endif

#define OFF_tcp_copied_seq offsetof(struct tcp_sock, copied_seq)
#define OFF_tcp_rcv_nxt offsetof(struct tcp_sock, rcv_nxt)
#define OFF_tcp_write_seq offsetof(struct tcp_sock, write_seq)
#define OFF_tcp_snd_una offsetof(struct tcp_sock, snd_una)
#define OFF_tcp_snd_nxt offsetof(struct tcp_sock, snd_nxt)
#define WITH_CROSSING
#define OFF_tcp_snd_wnd offsetof(struct tcp_sock, snd_wnd)
#define OFF_tcp_packets_out offsetof(struct tcp_sock, packets_out)
#define OFF_tcp_sacked_out offsetof(struct tcp_sock, sacked_out)
#define OFF_tcp_lost_out offsetof(struct tcp_sock, lost_out)
#define OFF_tcp_retrans_out offsetof(struct tcp_sock, retrans_out)
#define OFF_tcp_total_retrans offsetof(struct tcp_sock, total_retrans)
#define OFF_tcp_snd_cwnd offsetof(struct tcp_sock, snd_cwnd)
#define OFF_tcp_mss_cache offsetof(struct tcp_sock, mss_cache)
#define OFF_tcp_srtt_us offsetof(struct tcp_sock, srtt_us)
#define OFF_icsk_retransmits offsetof(struct inet_connection_sock, icsk_retransmits)
#define OFF_icsk_backoff offsetof(struct inet_connection_sock, icsk_backoff)
#define OFF_icsk_pending offsetof(struct inet_connection_sock, icsk_pending)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 6, 0) && IS_ENABLED(CONFIG_MPTCP)
#define OFF_tcp_is_mptcp offsetof(struct tcp_sock, is_mptcp)
#endif

/* forward_deficit came with 4.10 (6b229cf77d68, "udp: add batching to udp_rmem_release()") */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
#define OFF_udp_forward_deficit offsetof(struct udp_sock, forward_deficit)
#endif

/* What proves that a UDP queue has drained: before 5.10 what sees that is always attached. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 10, 0)
#define OFF_sk_receive_queue offsetof(struct sock, sk_receive_queue)
#define OFF_udp_reader_queue offsetof(struct udp_sock, reader_queue)
#endif

#define OFF_skb_sk offsetof(struct sk_buff, sk)
#define OFF_skb_destructor offsetof(struct sk_buff, destructor)
#define OFF_skb_truesize offsetof(struct sk_buff, truesize)
#define OFF_skb_ack_seq (offsetof(struct sk_buff, cb) + offsetof(struct tcp_skb_cb, ack_seq))

#endif
