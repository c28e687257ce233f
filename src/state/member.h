/* Membership: who is in the cluster, and the texts in which etcd keeps that.
 *
 * A member_set is the applied membership: members sorted by id, the ids that were removed for
 * good, and the cluster version. It changes only when configuration entries and attribute
 * requests are applied. It knows three forms:
 *
 *   v3 rows     buckets `members` and `members_removed` (docs/formats/db.md): one JSON a member
 *   v2 tree     the document inside a .snap file, which etcd 3.4 and 3.5 read at start
 *   conf change the JSON context of a raftpb.ConfChange
 *
 * It is not the raft configuration (raft/) and does no I/O.
 *
 * Ownership: the set owns its members; pointers are valid until the next change.
 * Threads:   loop thread only. */
#ifndef STATE_MEMBER_H
#define STATE_MEMBER_H

#include "base/bytes.h"

typedef uint64_t member_id;

/* A member has at most this many URLs of a kind, and a name of at most this many bytes: far above
 * any real cluster, below any harm. */
#define MEMBER_URLS_MAX 64
#define MEMBER_TEXT_MAX 4096

struct member_urls {
    char **urls;
    size_t count;
};

struct member {
    member_id id;
    char *name; /* "" until the member has published itself */
    struct member_urls peer_urls;
    struct member_urls client_urls; /* empty until published */
    bool is_learner;
};

struct member_set;

struct member_set *member_set_new(uint64_t cluster_id);
void member_set_free(struct member_set **set);

/* Adds a copy. ERR_EXISTS: the id is there; ERR_NOT_FOUND: it was removed before, and ids are
 * never used twice. */
FALLIBLE member_set_add(struct member_set *set, const struct member *member);
/* ERR_NOT_FOUND when there is no such member. Remembers the id as removed. */
FALLIBLE member_set_remove(struct member_set *set, member_id id);
FALLIBLE member_set_promote(struct member_set *set, member_id id);
FALLIBLE member_set_peer_urls(struct member_set *set, member_id id, const struct member_urls *urls);
FALLIBLE member_set_attributes(struct member_set *set, member_id id, struct slice name,
                               const struct member_urls *client_urls);
/* "3.4.0"; "" while undecided. */
void member_set_version(struct member_set *set, struct slice version);

const char *member_set_cluster_version(const struct member_set *set);
size_t member_set_count(const struct member_set *set);
/* By position, ascending ids. */
const struct member *member_set_at(const struct member_set *set, size_t at);
const struct member *member_set_find(const struct member_set *set, member_id id); /* or NULL */
bool member_set_is_removed(const struct member_set *set, member_id id);
size_t member_set_removed_count(const struct member_set *set);
member_id member_set_removed_at(const struct member_set *set, size_t at);
void member_set_check(const struct member_set *set);

/* One member's texts. The encoders append; the decoders return a member whose memory the caller
 * releases with member_fini(), ERR_CORRUPT with a sentence on anything that is no member. */
void member_encode_row(const struct member *member, struct buf *out); /* {"id":N,"peerURLs":…} */
void member_encode_raft_attributes(const struct member *member, struct buf *out);
void member_encode_attributes(const struct member *member, struct buf *out);
FALLIBLE member_decode_row(struct slice text, struct member *out, struct errbuf *why);
FALLIBLE member_decode_attributes(struct slice text, struct member *out, struct errbuf *why);
void member_fini(struct member *member);
void member_urls_add(struct member_urls *list, struct slice url);
void member_urls_fini(struct member_urls *list);

/* The v2 store document that a .snap file carries: `index` becomes its CurrentIndex. */
void member_set_encode_v2(const struct member_set *set, uint64_t index, struct buf *out);
/* Fills an empty set from such a document. ERR_CORRUPT: not one. ERR_UNSUPPORTED: it holds keys of
 * the v2 API, which this server does not carry yet: refused rather than lost. */
FALLIBLE member_set_decode_v2(struct member_set *set, struct slice text, struct errbuf *why);

#endif
