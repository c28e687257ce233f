#include "ctl/pflag.h"

#include "unit.h"

#include <stdio.h>

static const struct pflag_spec specs[] = {
    {"endpoints", 0, PFLAG_STRINGS, "127.0.0.1:2379", "where", NULL},
    {"write-out", 'w', PFLAG_STRING, "simple", "how", NULL},
    {"prefix", 'p', PFLAG_BOOL, "false", "prefix", NULL},
    {"quiet", 'q', PFLAG_BOOL, "true", "quiet", NULL},
    {"limit", 0, PFLAG_INT64, "0", "limit", NULL},
    {"rev", 'r', PFLAG_INT64, "0", "revision", NULL},
    {"ops", 0, PFLAG_UINT64, "128", "operations", NULL},
    {"timeout", 0, PFLAG_DURATION, "5s", "timeout", NULL},
    {"ratio", 0, PFLAG_FLOAT64, "1", "ratio", NULL},
};

#define WORDS_MAX 8

/* Words parted by '|'; shows every changed flag and the arguments, or the error. */
static const char *parse(const char *line, struct buf *out)
{
    char text[256];
    snprintf(text, sizeof(text), "%s", line);
    const char *words[WORDS_MAX];
    size_t count = 0;
    if (line[0] != 0) {
        words[count++] = text;
        for (char *p = text; *p != 0; p++) {
            if (*p == '|') {
                *p = 0;
                assert_true(count < WORDS_MAX);
                words[count++] = p + 1;
            }
        }
    }
    struct pflag_set *set = pflag_set_new();
    pflag_add(set, specs, ARRAY_LEN(specs), false);
    struct buf why = {0};
    buf_reset(out);
    enum err err = pflag_parse(set, words, count, &why);
    if (err == ERR_NOT_FOUND) {
        buf_append_str(out, "help");
    } else if (err != ERR_OK) {
        assert_int_equal(err, ERR_INVALID);
        buf_append_slice(out, buf_slice(&why));
    } else {
        for (size_t i = 0; i < pflag_count(set); i++) {
            if (pflag_at(set, i)->changed) {
                buf_printf(out, "%s=", pflag_at(set, i)->spec->name);
                pflag_format(pflag_at(set, i), out);
                buf_append_byte(out, ' ');
            }
        }
        for (size_t i = 0; i < pflag_narg(set); i++) {
            buf_printf(out, "(%s)", pflag_arg(set, i));
        }
    }
    buf_fini(&why);
    pflag_set_free(&set);
    return buf_cstr(out);
}

TEST(pflag, reads_flags_anywhere_between_arguments)
{
    static const struct {
        const char *words;
        const char *result;
    } cases[] = {
        {"", ""},
        {"a|b", "(a)(b)"},
        {"a|--limit=3|b", "limit=3 (a)(b)"},
        {"a|--limit|3|b", "limit=3 (a)(b)"},
        {"--ratio=2.50|a", "ratio=2.5 (a)"},
        {"--ratio=x",
         "invalid argument \"x\" for \"--ratio\" flag: strconv.ParseFloat: parsing \"x\": invalid "
         "syntax"},
        {"--prefix|a", "prefix=true (a)"},
        {"--prefix=false|a", "prefix=false (a)"},
        {"--prefix|false", "prefix=true (false)"},
        {"--prefix=T", "prefix=true "},
        {"-w|json|a", "write-out=json (a)"},
        {"-wjson|a", "write-out=json (a)"},
        {"-w=json|a", "write-out=json (a)"},
        {"-w=", "write-out== "},
        {"-pq", "prefix=true quiet=true "},
        {"-pwjson", "prefix=true write-out=json "},
        {"-pw|json", "prefix=true write-out=json "},
        {"-p=false", "prefix=false "},
        {"--write-out=", "write-out= "},
        {"--write-out||a", "write-out= (a)"},
        {"--write-out=a=b", "write-out=a=b "},
        {"-", "(-)"},
        {"|a", "()(a)"},
        {"--|-w|--prefix", "(-w)(--prefix)"},
        {"a|--|b", "(a)(b)"},
        {"--write-out|--prefix", "write-out=--prefix "},
        {"--limit|-3", "limit=-3 "},
        {"--limit=0x10", "limit=16 "},
        {"--limit=1_000", "limit=1000 "},
        {"--limit=1|--limit=2", "limit=2 "},
        {"--timeout=1m30s", "timeout=1m30s "},
        {"--endpoints=a,b", "endpoints=[a,b] "},
        {"--endpoints=a|--endpoints=b,c", "endpoints=[a,b,c] "},
        {"--endpoints=", "endpoints=[] "},
        {"--endpoints=\"a,b\",c", "endpoints=[\"a,b\",c] "},
        {"--endpoints=\"a\"\"b\"", "endpoints=[\"a\"\"b\"] "},
        {"--endpoints=a,", "endpoints=[a,] "},
        {"--ops=7", "ops=7 "},
    };
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(parse(cases[i].words, &out), cases[i].result);
    }
    buf_fini(&out);
}

TEST(pflag, refuses_in_the_words_of_pflag)
{
    static const struct {
        const char *words;
        const char *error;
    } cases[] = {
        {"--nosuch", "unknown flag: --nosuch"},
        {"--nosuch=1", "unknown flag: --nosuch"},
        {"--pre", "unknown flag: --pre"},
        {"-x", "unknown shorthand flag: 'x' in -x"},
        {"-pxq", "unknown shorthand flag: 'x' in -xq"},
        {"-'", "unknown shorthand flag: '\\'' in -'"},
        {"-\"", "unknown shorthand flag: '\"' in -\""},
        {"-\t", "unknown shorthand flag: '\\t' in -\t"},
        {"-\xc3\xa9", "unknown shorthand flag: '\xc3\x83' in -\xc3\xa9"},
        {"---x", "bad flag syntax: ---x"},
        {"--=x", "bad flag syntax: --=x"},
        {"--limit", "flag needs an argument: --limit"},
        {"-w", "flag needs an argument: 'w' in -w"},
        {"-pw", "flag needs an argument: 'w' in -w"},
        {"--limit=x", "invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing "
                      "\"x\": invalid syntax"},
        {"--limit=", "invalid argument \"\" for \"--limit\" flag: strconv.ParseInt: parsing \"\": "
                     "invalid syntax"},
        {"--limit=9223372036854775808",
         "invalid argument \"9223372036854775808\" for \"--limit\" flag: strconv.ParseInt: "
         "parsing \"9223372036854775808\": value out of range"},
        {"--rev=q", "invalid argument \"q\" for \"-r, --rev\" flag: strconv.ParseInt: parsing "
                    "\"q\": invalid syntax"},
        {"--ops=-1", "invalid argument \"-1\" for \"--ops\" flag: strconv.ParseUint: parsing "
                     "\"-1\": invalid syntax"},
        {"--prefix=maybe", "invalid argument \"maybe\" for \"-p, --prefix\" flag: "
                           "strconv.ParseBool: parsing \"maybe\": invalid syntax"},
        {"--timeout=5", "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in "
                        "duration \"5\""},
        {"--timeout=x", "invalid argument \"x\" for \"--timeout\" flag: time: invalid duration "
                        "\"x\""},
        {"--endpoints=a\"b", "invalid argument \"a\\\"b\" for \"--endpoints\" flag: parse error on "
                             "line 1, column 2: bare \" in non-quoted-field"},
        {"--endpoints=\"ab", "invalid argument \"\\\"ab\" for \"--endpoints\" flag: parse error on "
                             "line 1, column 4: extraneous or missing \" in quoted-field"},
        {"--help", "help"},
        {"-h", "help"},
        {"-ph", "help"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(parse(cases[i].words, &out), cases[i].error);
    }
    buf_fini(&out);
}

TEST(pflag, a_value_of_any_length_is_not_cut)
{
    struct buf word = {0};
    struct buf why = {0};
    buf_append_str(&word, "--");
    for (size_t i = 0; i < 5000; i++) {
        buf_append_byte(&word, 'x');
    }
    const char *words[] = {buf_cstr(&word)};
    struct pflag_set *set = pflag_set_new();
    assert_int_equal(pflag_parse(set, words, 1, &why), ERR_INVALID);
    assert_int_equal(why.len, strlen("unknown flag: --") + 5000);
    pflag_set_free(&set);
    buf_fini(&why);
    buf_fini(&word);
}

TEST(pflag, the_nearest_definition_wins)
{
    static const struct pflag_spec parent[] = {{"limit", 0, PFLAG_STRING, "far", "far", NULL},
                                               {"other", 'w', PFLAG_BOOL, "false", "", NULL}};
    struct pflag_set *set = pflag_set_new();
    pflag_add(set, specs, ARRAY_LEN(specs), false);
    pflag_add(set, parent, ARRAY_LEN(parent), true);
    assert_int_equal(pflag_i64(set, "limit"), 0);
    assert_false(pflag_find(set, SLICE("limit"))->is_inherited);
    assert_true(pflag_find(set, SLICE("other"))->is_inherited);
    assert_string_equal(pflag_find_short(set, 'w')->spec->name, "other");
    assert_false(pflag_changed(set, "limit"));
    pflag_set_free(&set);
}

TEST(pflag, a_value_from_the_environment_counts_as_given)
{
    struct pflag_set *set = pflag_set_new();
    struct buf why = {0};
    pflag_add(set, specs, ARRAY_LEN(specs), false);
    struct pflag *flag = pflag_find(set, SLICE("timeout"));
    assert_int_equal(pflag_set_value(set, flag, "nonsense", &why), ERR_INVALID);
    assert_false(pflag_changed(set, "timeout"));
    assert_int_equal(pflag_i64(set, "timeout"), 5000000000);
    assert_int_equal(pflag_set_value(set, flag, "250ms", &why), ERR_OK);
    assert_true(pflag_changed(set, "timeout"));
    assert_int_equal(pflag_i64(set, "timeout"), 250000000);
    buf_fini(&why);
    pflag_set_free(&set);
}
