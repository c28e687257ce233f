/* Finds JSON values in a text as Go's encoding/json does, and says in its words what is wrong.
 *
 * The JSON gateway's clients see those sentences. It only checks the grammar (RFC 8259); what a
 * value means is the caller's (codec/pbjson). Strings are not checked for UTF-8, as in Go.
 *
 * Threads: pure functions. */
#ifndef CODEC_GOJSON_H
#define CODEC_GOJSON_H

#include "base/bytes.h"

#include <limits.h>

/* Arrays and objects inside one another. Go allows 10,000; a transaction nested as deep as a
 * request may be (PB_DEPTH_MAX) takes less than this. */
#define GOJSON_DEPTH_MAX 400

/* Takes one value off the front of *text, as json.Decoder does; *out is its text without the blanks
 * around it.
 *
 * ERR_EOF      nothing but blanks is left ("EOF")
 * ERR_AGAIN    the text ends inside a value ("unexpected EOF")
 * ERR_INVALID  "invalid character 'b' looking for beginning of object key string", …,
 *              "exceeded max depth"
 *
 * *text is used up to the value's end on success, untouched otherwise. */
FALLIBLE gojson_next(struct slice *text, struct slice *out, struct errbuf *why);

/* The same for a text that comes in pieces, without looking at any byte twice. Embed; all is
 * private. */
struct gojson {
    size_t looked; /* bytes of the text behind us */
    size_t start;  /* where the value begins, once it has */
    size_t depth;
    unsigned state;
    bool has_begun;
    uint8_t literal_at;
    const char *literal;
    uint8_t in_object[(GOJSON_DEPTH_MAX + CHAR_BIT - 1) / CHAR_BIT]; /* a bit each; else an array */
};

void gojson_init(struct gojson *scan);
/* As gojson_next(), with a text that has grown at its end since the last call, and may have moved.
 * Unless it `is_last`, more may come: a number at the end may go on, so it is ERR_AGAIN. After a
 * value, or an error, the scan stands at the beginning again. */
FALLIBLE gojson_continue(struct gojson *scan, struct slice *text, bool is_last, struct slice *out,
                         struct errbuf *why);

#endif
