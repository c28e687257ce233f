#include "codec/yaml.h"

#include "unit.h"

#include <math.h>

struct fixture {
    struct arena arena;
    const struct yaml_node *root;
    struct errbuf why;
};

static enum err load(struct fixture *f, const char *text)
{
    arena_init(&f->arena);
    f->root = NULL;
    f->why.text[0] = 0;
    return yaml_parse(&f->arena, slice_str(text), &f->root, &f->why);
}

TEST(yaml, a_document_becomes_a_tree)
{
    struct fixture f;
    assert_int_equal(load(&f, "name: a\nlist:\n- 1\n- two\nmap: {x: true, y: null}\n"), ERR_OK);
    assert_int_equal(f.root->kind, YAML_KIND_MAP);
    assert_int_equal(f.root->count, 3);
    assert_true(slice_eq_str(yaml_find(f.root, "name")->text, "a"));
    const struct yaml_node *list = yaml_find(f.root, "list");
    assert_int_equal(list->kind, YAML_KIND_LIST);
    assert_int_equal(list->count, 2);
    assert_int_equal(list->items[0]->i64, 1);
    assert_int_equal(list->items[1]->line, 4);
    const struct yaml_node *map = yaml_find(f.root, "map");
    assert_true(yaml_find(map, "x")->boolean);
    assert_int_equal(yaml_find(map, "y")->kind, YAML_KIND_NULL);
    assert_null(yaml_find(map, "z"));
    assert_null(yaml_find(list, "z"));
    assert_null(yaml_find(NULL, "z"));
    arena_fini(&f.arena);
}

TEST(yaml, json_is_yaml)
{
    struct fixture f;
    assert_int_equal(load(&f, "{\"a\": [1, -2.5, \"x\\ny\"], \"b\": {}}"), ERR_OK);
    assert_true(yaml_find(f.root, "a")->items[1]->f64 == -2.5);
    assert_true(slice_eq_str(yaml_find(f.root, "a")->items[2]->text, "x\ny"));
    arena_fini(&f.arena);
}

TEST(yaml, nothing_is_a_null)
{
    static const char *const texts[] = {"", "\n", "# only a comment\n", "---\n", "~"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct fixture f;
        assert_int_equal(load(&f, texts[i]), ERR_OK);
        assert_int_equal(f.root->kind, YAML_KIND_NULL);
        arena_fini(&f.arena);
    }
}

TEST(yaml, plain_scalars_resolve_as_in_go_yaml)
{
    static const struct {
        const char *text;
        enum yaml_kind kind;
        double number;
    } cases[] = {
        {"yes", YAML_KIND_BOOL, 1},
        {"Off", YAML_KIND_BOOL, 0},
        {"y", YAML_KIND_BOOL, 1},
        {"TRUE", YAML_KIND_BOOL, 1},
        {"tRUE", YAML_KIND_STRING, 0},
        {"null", YAML_KIND_NULL, 0},
        {"12", YAML_KIND_INT, 12},
        {"-0x1f", YAML_KIND_INT, -31},
        {"0o17", YAML_KIND_INT, 15},
        {"017", YAML_KIND_INT, 15},
        {"1_000", YAML_KIND_INT, 1000},
        {"0b11", YAML_KIND_INT, 3},
        {"1.5", YAML_KIND_FLOAT, 1.5},
        {"1e3", YAML_KIND_FLOAT, 1000},
        {".5", YAML_KIND_FLOAT, 0.5},
        {".inf", YAML_KIND_FLOAT, INFINITY},
        {"5s", YAML_KIND_STRING, 0},
        {"1.2.3", YAML_KIND_STRING, 0},

        {"+", YAML_KIND_STRING, 0},
        {"'12'", YAML_KIND_STRING, 0},
        {"\"yes\"", YAML_KIND_STRING, 0},
        {"!!str 12", YAML_KIND_STRING, 0},
        {"!!int \"12\"", YAML_KIND_INT, 12},
        {"2020-01-01", YAML_KIND_STRING, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        char text[64] = "k: ";
        strcat(text, cases[i].text);
        print_message("# %s\n", text);
        assert_int_equal(load(&f, text), ERR_OK);
        const struct yaml_node *node = yaml_find(f.root, "k");
        assert_int_equal(node->kind, cases[i].kind);
        if (node->kind == YAML_KIND_BOOL) {
            assert_true(node->boolean == (cases[i].number != 0));
        } else if (node->kind == YAML_KIND_INT) {
            assert_true((double)node->i64 == cases[i].number);
        } else if (node->kind == YAML_KIND_FLOAT) {
            assert_true(node->f64 == cases[i].number);
        }
        arena_fini(&f.arena);
    }
}

TEST(yaml, numbers_over_int64_are_unsigned)
{
    struct fixture f;
    assert_int_equal(load(&f, "18446744073709551615"), ERR_OK);
    assert_int_equal(f.root->kind, YAML_KIND_UINT);
    assert_true(f.root->u64 == UINT64_MAX);
    arena_fini(&f.arena);
    assert_int_equal(load(&f, "18446744073709551616"), ERR_OK);
    assert_int_equal(f.root->kind, YAML_KIND_FLOAT);
    arena_fini(&f.arena);
}

TEST(yaml, the_last_of_equal_keys_counts)
{
    struct fixture f;
    assert_int_equal(load(&f, "a: 1\na: 2\n"), ERR_OK);
    assert_int_equal(yaml_find(f.root, "a")->i64, 2);
    arena_fini(&f.arena);
}

TEST(yaml, an_alias_is_its_anchors_node)
{
    struct fixture f;
    assert_int_equal(load(&f, "a: &x [1, 2]\nb: *x\nc: &x 5\nd: *x\n"), ERR_OK);
    assert_ptr_equal(yaml_find(f.root, "a"), yaml_find(f.root, "b"));
    assert_int_equal(yaml_find(f.root, "d")->i64, 5);
    arena_fini(&f.arena);
}

TEST(yaml, errors_are_go_yamls_sentences)
{
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {"a: b: c", "yaml: mapping values are not allowed in this context"},
        {"a: 1\nb: [1, 2\n", "yaml: line 2: did not find expected ',' or ']'"},
        {"a:\n\t- b\n", "yaml: line 2: found character that cannot start any token"},
        {"a: *nobody", "yaml: unknown anchor 'nobody' referenced"},
        {"a: &x [*x]", "yaml: anchor 'x' value contains itself"},
        {"[1]: 2", "yaml: line 1: invalid map key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        print_message("# %s\n", cases[i].text);
        assert_int_equal(load(&f, cases[i].text), ERR_INVALID);
        assert_string_equal(f.why.text, cases[i].sentence);
        assert_null(f.root);
        arena_fini(&f.arena);
    }
}

TEST(yaml, depth_has_a_limit)
{
    struct fixture f;
    char text[2 * YAML_DEPTH_MAX + 3] = "";
    memset(text, '[', YAML_DEPTH_MAX);
    memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
    assert_int_equal(load(&f, text), ERR_OK);
    arena_fini(&f.arena);
    memset(text, '[', YAML_DEPTH_MAX + 1);
    memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    assert_int_equal(load(&f, text), ERR_TOO_LARGE);
    assert_string_equal(f.why.text, "yaml: line 1: more than 64 levels deep");
    arena_fini(&f.arena);
}

TEST(yaml, a_bomb_of_aliases_is_refused)
{
    struct fixture f;
    struct buf text = {0};
    buf_append_str(&text, "a0: &a0 [1,1,1,1,1,1,1,1,1]\n");
    for (int i = 1; i < 12; i++) {
        buf_printf(&text, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    assert_int_equal(load(&f, buf_cstr(&text)), ERR_TOO_LARGE);
    assert_string_equal(f.why.text,
                        "yaml: the document has more than 100000 values, aliases written out");
    arena_fini(&f.arena);
    buf_fini(&text);
}

TEST(yaml, length_values_and_anchors_have_limits)
{
    struct fixture f;
    struct buf text = {0};
    arena_init(&f.arena);
    memset(buf_extend(&text, YAML_LEN_MAX + 1), ' ', YAML_LEN_MAX + 1);
    assert_int_equal(yaml_parse(&f.arena, buf_slice(&text), &f.root, &f.why), ERR_TOO_LARGE);
    buf_reset(&text);
    buf_append_byte(&text, '[');
    for (int i = 0; i < YAML_NODES_MAX; i++) {
        buf_append_str(&text, "1,");
    }
    buf_append_byte(&text, ']');
    assert_int_equal(yaml_parse(&f.arena, buf_slice(&text), &f.root, &f.why), ERR_TOO_LARGE);
    buf_reset(&text);
    buf_append_byte(&text, '[');
    for (int i = 0; i < YAML_ANCHORS_MAX + 1; i++) {
        buf_append_str(&text, "&a 1,");
    }
    buf_append_byte(&text, ']');
    assert_int_equal(yaml_parse(&f.arena, buf_slice(&text), &f.root, &f.why), ERR_TOO_LARGE);
    assert_string_equal(f.why.text, "yaml: line 1: more than 1000 anchors");
    buf_fini(&text);
    arena_fini(&f.arena);
}
