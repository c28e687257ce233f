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

TEST(utf8, a_character_is_decoded_or_refused)
{
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc3",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5",
                                      "\xe2\x82"};
    uint32_t rune;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(utf8_decode(slice_str(bad[i]), &rune), 0);
    }
    assert_int_equal(utf8_decode(SLICE("\xf4\x8f\xbf\xbf"), &rune), 4);
    assert_int_equal(rune, 0x10ffff);
    static const struct {
        const char *text;
        uint32_t rune;
    } good[] = {
        {"a", 'a'},
        {"\xc2\x80", 0x80},
        {"\xdf\xbf", 0x7ff},
        {"\xe0\xa0\x80", 0x800},
        {"\xef\xbf\xbdx", 0xfffd},
        {"\xf0\x90\x80\x80", 0x10000},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(utf8_decode(slice_str(good[i].text), &rune),
                         utf8_len(slice_str(good[i].text)));
        assert_int_equal(rune, good[i].rune);
    }
}
