/* Finds JSON values in a text as Go's encoding/json does, and says in its words what is wrong.
 *
 * The JSON gateway's clients see those sentences. It only checks the grammar (RFC 8259); what a
 * value means is the caller's (codec/pbjson). Strings are not checked for UTF-8, as in Go.
 *
 * Threads: pure functions. */
#ifndef CODEC_GOJSON_H
#define CODEC_GOJSON_H

#include "base/bytes.h"

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

#endif
