/* What the heads of a peer's frames say, before nghttp2 sees them. Inside of h2 only; both roles.
 *
 * nghttp2 keeps no closed streams (it would keep as many as may be open: four milliards), and
 * tells nobody of the frames that it ignores. So the heads are walked here, which is little work,
 * for what needs every one of them:
 *
 *   - budgets: resets, control frames, frames of unknown types, empty DATA, and WINDOW_UPDATEs for
 *     which nothing was sent;
 *   - server: frames on streams that the client has ended, has reset or has passed over (RFC 9113
 *     section 5.1), for the last GUARD_STREAMS of them; older ones are ignored, as the section
 *     allows for what was reset;
 *   - frames that are too long, and PRIORITY, which nghttp2 does not look at;
 *   - whether the peer owes the rest of a header block, or the SETTINGS of its preface.
 *
 * It changes nothing: what it passes is nghttp2's to judge. No ownership: the
 * struct is a value. */
#ifndef CODEC_H2_GUARD_H
#define CODEC_H2_GUARD_H

#include "codec/h2.h"

#define GUARD_STREAMS 128
#define GUARD_HEAD_LEN 9
#define GUARD_HEAD_MAX 13 /* with the stream that a PRIORITY frame names */

struct h2_budget {
    uint64_t burst_ns; /* cost * burst */
    uint64_t cost_ns;  /* of one */
    uint64_t free_at;  /* virtual time up to which everything is paid */
};

struct h2_guard {
    bool is_server;
    bool has_begun; /* the first frame is whole */
    bool in_block;  /* END_HEADERS is still to come */
    uint8_t type;   /* of the frame whose payload is being passed */
    uint8_t head[GUARD_HEAD_MAX];
    uint8_t head_len;
    uint32_t skip; /* bytes of payload, first of the preface, still to pass */
    uint32_t last_id;
    uint8_t streams[GUARD_STREAMS]; /* enum in h2_guard.c, by (id / 2) % GUARD_STREAMS */
    struct h2_budget resets;
    struct h2_budget controls;
    uint32_t updates_left; /* WINDOW_UPDATEs that cost nothing */
    uint64_t blocks;       /* frames with a piece of a header block */
};

struct h2_verdict {
    enum h2_code code;
    const char *why;
};

void h2_guard_init(struct h2_guard *guard, bool is_server);
/* How many bytes of `in` may go on: all, or those before a frame that ends the session with *out.
 */
size_t h2_guard_pass(struct h2_guard *guard, struct slice in, uint64_t now_ns,
                     struct h2_verdict *out);
/* Where the next HEADERS frame lies that is whole in `in`, and its length with the head; in.len
 * when there is none. Judges nothing. */
size_t h2_guard_block(const struct h2_guard *guard, struct slice in, size_t *len_out);
/* A reset that is sent costs as much as one that comes. False: one too many. */
bool h2_guard_reset_sent(struct h2_guard *guard, uint64_t now_ns);
/* A DATA frame is sent: WINDOW_UPDATEs for it are due. */
void h2_guard_data_sent(struct h2_guard *guard);
/* The peer owes the rest of a header block or of its preface. */
bool h2_guard_is_owed(const struct h2_guard *guard);

#endif
