/* Numbers, booleans, durations and quoting as Go reads and writes them.
 *
 * Flags, environment, configuration and log lines must accept and print exactly what Go's strconv
 * and time packages do, down to the error texts. Pure functions; nothing is kept.
 *
 * Every parser leaves *out untouched on failure and puts Go's text of the error, without the
 * "strconv.ParseX: parsing" part unless said, into *why (may be NULL). */
#ifndef BASE_GOTEXT_H
#define BASE_GOTEXT_H

#include "base/bytes.h"

#define GO_NS_PER_US ((int64_t)1000)
#define GO_NS_PER_MS ((int64_t)1000000)
#define GO_NS_PER_SEC ((int64_t)1000000000)
#define GO_NS_PER_MIN (60 * GO_NS_PER_SEC)
#define GO_NS_PER_HOUR (60 * GO_NS_PER_MIN)

/* 1 t T TRUE true True 0 f F FALSE false False. ERR_INVALID: "invalid syntax". */
FALLIBLE go_parse_bool(struct slice text, bool *out, struct errbuf *why);

/* strconv.ParseInt / ParseUint with bit_size 8, 16, 32 or 64. base 0 takes the prefixes 0x 0o 0b 0
 * and underscores between digits; base 10 takes neither. A sign is for ParseInt alone.
 *
 * ERR_INVALID    "invalid syntax"
 * ERR_TOO_LARGE  "value out of range" */
FALLIBLE go_parse_int(struct slice text, int base, int bit_size, int64_t *out, struct errbuf *why);
FALLIBLE go_parse_uint(struct slice text, int base, int bit_size, uint64_t *out,
                       struct errbuf *why);

/* strconv.ParseFloat: decimal, exponent, hexadecimal, inf, nan; same errors. */
FALLIBLE go_parse_float(struct slice text, double *out, struct errbuf *why);

/* time.ParseDuration: "1h30m", "-1.5s", "100ms", "0". ERR_INVALID with Go's whole sentence:
 *   time: invalid duration "x" · time: missing unit in duration "1" ·
 *   time: unknown unit "q" in duration "1q" */
FALLIBLE go_parse_duration(struct slice text, int64_t *out_ns, struct errbuf *why);

/* time.Duration.String(): "0s", "1.5s", "2h0m0s", "100µs". Appends. */
void go_format_duration(int64_t duration_ns, struct buf *out);

/* strconv 'f' -1: the shortest decimal that reads back, without exponent; "NaN" "+Inf" "-Inf". */
void go_format_float(double number, struct buf *out);
/* fmt %v and %g of a float64, 'g' -1: with an exponent below 0.0001 and from 1e+06 on. */
void go_format_float_v(double number, struct buf *out);

/* %q: a double-quoted Go string; what does not print is escaped. Appends. */
void go_quote(struct slice text, struct buf *out);

#endif
