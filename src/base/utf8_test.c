#include "base/utf8.h"

#include "unit.h"

TEST(utf8, valid_text_is_text)
{
    static const char *const valid[] = {
        "",
        "a",
        "h\xc3\xa9",
        "\xe2\x82\xac",
        "\xf0\x9f\x98\x80",
        "\xf4\x8f\xbf\xbf",
        "\xed\x9f\xbf",
    };
    for (size_t i = 0; i < ARRAY_LEN(valid); i++) {
        assert_true(utf8_valid(slice_str(valid[i])));
    }
    assert_int_equal(utf8_len(SLICE("\xe2\x82\xac...")), 3);
}

TEST(utf8, cut_overlong_and_surrogate_sequences_are_not)
{
    static const char *const invalid[] = {
        "\x80",
        "\xff",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xe2\x82",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "a\xc3(",
    };
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        assert_false(utf8_valid(slice_str(invalid[i])));
    }
}
