/* Numbers and durations of any bytes, as Go writes them. Properties: a failure has a sentence and
 * leaves what was there; a duration that was read is written to a text that reads back the same and
 * is written the same; a number that fits 8 bits fits 64 with the same value. */
#include "base/gotext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_duration(struct slice text)
{
    struct errbuf why = {{0}};
    int64_t ns = 42;
    int64_t again = 0;
    if (go_parse_duration(text, &ns, &why) != ERR_OK) {
        ASSERT(ns == 42);
        ASSERT(why.text[0] != 0);
        return;
    }
    struct buf first = {0};
    struct buf second = {0};
    go_format_duration(ns, &first);
    ASSERT(go_parse_duration(buf_slice(&first), &again, NULL) == ERR_OK);
    ASSERT(again == ns);
    go_format_duration(again, &second);
    ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void check_numbers(struct slice text)
{
    static const int bases[] = {0, 10};
    for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
        struct errbuf why = {{0}};
        int64_t small = 42;
        int64_t large = 42;
        uint64_t positive = 42;
        enum err err = go_parse_int(text, bases[i], 8, &small, &why);
        ASSERT(err == ERR_OK || (small == 42 && why.text[0] != 0));
        ASSERT(err != ERR_OK || (small >= INT8_MIN && small <= INT8_MAX));
        if (go_parse_int(text, bases[i], 64, &large, NULL) == ERR_OK) {
            ASSERT((err == ERR_OK) == (large >= INT8_MIN && large <= INT8_MAX));
            ASSERT(err != ERR_OK || large == small);
        } else {
            ASSERT(err != ERR_OK);
        }
        if (go_parse_uint(text, bases[i], 64, &positive, NULL) == ERR_OK && positive <= INT64_MAX) {
            ASSERT((uint64_t)large == positive);
        }
    }
}

static void check_float(struct slice text)
{
    double number = 42;
    double again = 0;
    if (go_parse_float(text, &number, NULL) != ERR_OK) {
        ASSERT(number == 42);
        return;
    }
    struct buf shown = {0};
    go_format_float_v(number, &shown);
    ASSERT(go_parse_float(buf_slice(&shown), &again, NULL) == ERR_OK);
    ASSERT(again == number || (again != again && number != number));
    buf_fini(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct buf quoted = {0};
    bool flag;
    check_duration(text);
    check_numbers(text);
    check_float(text);
    if (go_parse_bool(text, &flag, NULL) == ERR_OK) {
        ASSERT(size >= 1 && size <= 5);
    }
    go_quote(text, &quoted);
    ASSERT(quoted.len >= size + 2 && quoted.len <= 4 * size + 2 + 6 * size);
    ASSERT(quoted.data[0] == '"' && quoted.data[quoted.len - 1] == '"');
    for (size_t i = 0; i < quoted.len; i++) {
        ASSERT(quoted.data[i] >= 0x20 && quoted.data[i] != 0x7f);
    }
    buf_fini(&quoted);
    return 0;
}
