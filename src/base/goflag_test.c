#include "base/goflag.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

struct values {
    bool on;
    int64_t number;
    uint64_t count;
    uint64_t small;
    double ratio;
    int64_t wait_ns;
    const char *name;
    char heard[128];
};

static enum err hear(const struct goflag *flag, const char *value, struct errbuf *why)
{
    struct values *values = flag->target;
    if (strcmp(value, "bad") == 0) {
        return errf(why, ERR_INVALID, "not that one");
    }
    strncat(values->heard, value, sizeof(values->heard) - strlen(values->heard) - 1);
    strncat(values->heard, ";", sizeof(values->heard) - strlen(values->heard) - 1);
    return ERR_OK;
}

struct fixture {
    struct values values;
    struct goflag flags[9];
    struct goflag_set *set;
    struct errbuf why;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->values.name = "";
    struct goflag flags[] = {
        {.name = "on", .kind = GOFLAG_BOOL, .target = &f->values.on},
        {.name = "number", .kind = GOFLAG_INT, .target = &f->values.number},
        {.name = "count", .kind = GOFLAG_UINT, .target = &f->values.count},
        {.name = "small", .kind = GOFLAG_UINT32, .target = &f->values.small},
        {.name = "ratio", .kind = GOFLAG_FLOAT, .target = &f->values.ratio},
        {.name = "wait", .kind = GOFLAG_DURATION, .target = &f->values.wait_ns},
        {.name = "name", .kind = GOFLAG_STRING, .target = &f->values.name},
        {.name = "hear", .kind = GOFLAG_FUNC, .target = &f->values, .fn = hear},
        {.name = "old",
         .kind = GOFLAG_FUNC,
         .target = &f->values,
         .fn = hear,
         .is_bool_func = true},
    };
    memcpy(f->flags, flags, sizeof(flags));
    f->set = goflag_new(f->flags, ARRAY_LEN(flags));
}

/* Splits `line` at blanks and parses it. */
static enum err parse(struct fixture *f, const char *line)
{
    static char copies[256];
    static const char *argv[16];
    int argc = 0;
    snprintf(copies, sizeof(copies), "%s", line);
    for (char *word = strtok(copies, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    return goflag_parse(f->set, argc, argv, &f->why);
}

TEST(goflag, every_form_of_a_flag_is_taken)
{
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(parse(&f, "-on --number=-7 -count 0x10 --small 1_000 -ratio=2.5 --wait 1m30s "
                               "-name=a=b -hear x --hear=y -old -old=z"),
                     ERR_OK);
    assert_true(f.values.on);
    assert_int_equal(f.values.number, -7);
    assert_int_equal(f.values.count, 16);
    assert_int_equal(f.values.small, 1000);
    assert_true(f.values.ratio == 2.5);
    assert_int_equal(f.values.wait_ns, 90000000000);
    assert_string_equal(f.values.name, "a=b");
    assert_string_equal(f.values.heard, "x;y;true;z;");
    assert_int_equal(goflag_narg(f.set), 0);
    assert_true(goflag_given(f.set, "hear"));
    goflag_free(&f.set);
    assert_null(f.set);
}

TEST(goflag, booleans_take_a_value_only_behind_the_equals_sign)
{
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(parse(&f, "-on=T -on=F -on false -name x"), ERR_OK);
    assert_true(f.values.on); /* the last -on stood alone */
    assert_int_equal(goflag_narg(f.set), 3);
    assert_string_equal(goflag_arg(f.set, 0), "false");
    assert_false(goflag_given(f.set, "name"));
    goflag_free(&f.set);
}

TEST(goflag, flags_end_at_two_dashes_one_dash_or_a_word)
{
    static const struct {
        const char *line;
        size_t left;
        const char *first;
    } cases[] = {
        {"-on -- -name x", 2, "-name"},
        {"-on - -name x", 3, "-"},
        {"-on word -name x", 3, "word"},
        {"-on", 0, NULL},
        {"", 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        fixture_init(&f);
        assert_int_equal(parse(&f, cases[i].line), ERR_OK);
        assert_int_equal(goflag_narg(f.set), cases[i].left);
        if (cases[i].left > 0) {
            assert_string_equal(goflag_arg(f.set, 0), cases[i].first);
        }
        goflag_free(&f.set);
    }
}

TEST(goflag, errors_are_gos_sentences)
{
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"-x", "flag provided but not defined: -x"},
        {"--x=1", "flag provided but not defined: -x"},
        {"-name", "flag needs an argument: -name"},
        {"---name", "bad flag syntax: ---name"},
        {"-=x", "bad flag syntax: -=x"},
        {"--=x", "bad flag syntax: --=x"},
        {"-on=maybe", "invalid boolean value \"maybe\" for -on: parse error"},
        {"-on=", "invalid boolean value \"\" for -on: parse error"},
        {"-number=x", "invalid value \"x\" for flag -number: parse error"},
        {"-number 9223372036854775808",
         "invalid value \"9223372036854775808\" for flag -number: value out of range"},
        {"-count=-1", "invalid value \"-1\" for flag -count: parse error"},
        {"-small=x",
         "invalid value \"x\" for flag -small: strconv.ParseUint: parsing \"x\": invalid syntax"},
        {"-small=4294967296", "invalid value \"4294967296\" for flag -small: strconv.ParseUint: "
                              "parsing \"4294967296\": value out of range"},
        {"-ratio=1e999", "invalid value \"1e999\" for flag -ratio: value out of range"},
        {"-wait=5", "invalid value \"5\" for flag -wait: parse error"},
        {"-hear=bad", "invalid value \"bad\" for flag -hear: not that one"},
        {"-old=bad", "invalid boolean value \"bad\" for -old: not that one"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        fixture_init(&f);
        assert_int_equal(parse(&f, cases[i].line), ERR_INVALID);
        assert_string_equal(f.why.text, cases[i].sentence);
        goflag_free(&f.set);
    }
}

TEST(goflag, help_is_asked_for_only_where_no_such_flag_is_defined)
{
    struct fixture f;
    static const char *const lines[] = {"-h", "--help", "-help=x", "-on --h"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        fixture_init(&f);
        assert_int_equal(parse(&f, lines[i]), ERR_NOT_FOUND);
        assert_string_equal(f.why.text, "flag: help requested");
        goflag_free(&f.set);
    }
    bool helped = false;
    struct goflag own = {.name = "help", .kind = GOFLAG_BOOL, .target = &helped};
    struct goflag_set *set = goflag_new(&own, 1);
    const char *argv[] = {"--help"};
    assert_int_equal(goflag_parse(set, 1, argv, NULL), ERR_OK);
    assert_true(helped);
    goflag_free(&set);
}

TEST(goflag, values_can_come_from_elsewhere)
{
    struct fixture f;
    fixture_init(&f);
    assert_int_equal(goflag_set_value(f.set, "number", "5", &f.why), ERR_OK);
    assert_true(goflag_given(f.set, "number"));
    assert_int_equal(goflag_set_value(f.set, "number", "five", &f.why), ERR_INVALID);
    assert_string_equal(f.why.text, "parse error");
    assert_int_equal(f.values.number, 5);
    assert_int_equal(goflag_set_value(f.set, "nothing", "5", &f.why), ERR_NOT_FOUND);
    assert_string_equal(f.why.text, "no such flag -nothing");
    assert_null(goflag_find(f.set, SLICE("nothing")));
    assert_string_equal(goflag_find(f.set, SLICE("number"))->name, "number");
    goflag_free(&f.set);
}
