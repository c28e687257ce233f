/* What a request is, in words, for warnings about slow ones: as etcd writes it, values left out
 * (their sizes stand for them) and cut where it gets long, because keys may be. */
#ifndef SERVER_REQUEST_TEXT_H
#define SERVER_REQUEST_TEXT_H

#include "base/bytes.h"
#include "server/request.h"

/* Longer texts end in "...". */
#define REQUEST_TEXT_MAX ((size_t)1024)

/* `put:<key:"a" value_size:3 >`, `key:"a" range_end:"b" limit:5 `; for kinds without keys the name
 * of the kind. Appends. */
void request_text(enum request_kind kind, const void *message, struct buf *out);

/* How long the parts of a request took, in ns; what it had no need of is 0. */
struct request_times {
    uint64_t queue; /* until raft had it: there must be a leader, and a read shares a read index */
    uint64_t sync;  /* until it was committed, so on disk; of a read: until it may be answered */
    uint64_t apply; /* doing it, or of a read finding it */
    uint64_t send;  /* of a reply that is made while it is sent */
};
struct request_times request_times(const struct server_request *request, mono_ns sent);

#endif
