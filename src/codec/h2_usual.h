/* A header block that we send again and again, encoded once. Inside of h2 only.
 *
 * nghttp2's deflater looks every field up anew. Once it has written a block as nothing but indexes
 * (RFC 7541 section 6.1), the same bytes say the same fields for as long as its table does not
 * change, and it changes only with a block that has something else in it, or with the peer's
 * SETTINGS_HEADER_TABLE_SIZE. h2 tells of both; nothing is assumed of how nghttp2 indexes.
 *
 * No ownership: the struct is a value; the fields are borrowed for its life. */
#ifndef CODEC_H2_USUAL_H
#define CODEC_H2_USUAL_H

#include "codec/h2.h"

#define H2_USUAL_MAX 8 /* fields, so bytes of the learned block, too */

struct h2_usual {
    const struct h2_field *fields;
    size_t count;
    uint8_t bytes[H2_USUAL_MAX];
    size_t len; /* 0: not known */
};

void h2_usual_init(struct h2_usual *usual, const struct h2_field *fields, size_t count);
void h2_usual_forget(struct h2_usual *usual);
bool h2_usual_is_known(const struct h2_usual *usual);
/* nghttp2's own encoding of the fields: remembered if it is a pure one. */
void h2_usual_learn(struct h2_usual *usual, struct slice block);
/* As it is known, or, in `scratch`, as literals that no table is needed for. */
struct slice h2_usual_block(const struct h2_usual *usual, struct buf *scratch);

/* Nothing but indexed fields: it has left the table as it was. */
bool h2_usual_is_pure(struct slice block);

#endif
