/* Member, cluster and request identifiers, computed as etcd computes them.
 *
 * Two members that start from the same flags must agree on these without talking, and a directory
 * written by etcd must be found to be its own by us: formats.md section 7. Pure. */
#ifndef SERVER_IDS_H
#define SERVER_IDS_H

#include "base/bytes.h"

/* The first 8 bytes, big endian, of SHA-1 over the peer URLs, sorted and put one behind the other,
 * and the cluster's token. The array is not changed. */
uint64_t ids_member(const char *const *peer_urls, size_t count, const char *cluster_token);

/* As above for a member that is added to a running cluster: no token; the time of the addition in
 * seconds since 1970, in decimal, takes its place. */
uint64_t ids_member_added(const char *const *peer_urls, size_t count, int64_t added_at_s);

/* The first 8 bytes of SHA-1 over the ids of all initial members, ascending, 8 bytes each, big
 * endian. The array is not changed. */
uint64_t ids_cluster(const uint64_t *member_ids, size_t count);

/* Ids of requests and leases: unique across members and restarts.
 *
 *   bits 63-48  the low 16 bits of the member's id
 *   bits 47-8   milliseconds since 1970 at the start, 40 bits
 *   bits 7-0    a counter, which may run over into the time */
struct id_generator {
    uint64_t prefix; /* in place */
    uint64_t suffix; /* of the last id given out */
};

void id_generator_init(struct id_generator *gen, uint64_t member_id, int64_t now_ns);
uint64_t id_generator_next(struct id_generator *gen);

#endif
