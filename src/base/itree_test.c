#include "base/itree.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

struct found {
    const struct itree_node *nodes[512];
    size_t count;
};

static void note(void *ctx, struct itree_node *node)
{
    struct found *found = ctx;
    assert_true(found->count < 512);
    found->nodes[found->count++] = node;
}

static struct itree_node node_of(const char *from, const char *end)
{
    return (struct itree_node){.from = slice_str(from), .end = slice_str(end)};
}

static size_t count_at(const struct itree *tree, const char *key)
{
    struct found found = {.count = 0};
    itree_stab(tree, slice_str(key), note, &found);
    return found.count;
}

TEST(itree, an_empty_tree_holds_nothing)
{
    struct itree tree;
    itree_init(&tree);
    assert_int_equal(count_at(&tree, "a"), 0);
    assert_null(itree_find(&tree, SLICE("a"), SLICE("b")));
    itree_check(&tree);
}

TEST(itree, an_end_is_not_inside_and_an_empty_end_is_never_reached)
{
    struct itree tree;
    struct itree_node span = node_of("b", "d");
    struct itree_node from = node_of("c", "");
    itree_init(&tree);
    itree_insert(&tree, &span);
    itree_insert(&tree, &from);
    itree_check(&tree);
    assert_int_equal(count_at(&tree, "a"), 0);
    assert_int_equal(count_at(&tree, "b"), 1);
    assert_int_equal(count_at(&tree, "c"), 2);
    assert_int_equal(count_at(&tree, "czz"), 2);
    assert_int_equal(count_at(&tree, "d"), 1);
    assert_int_equal(count_at(&tree, "\xff\xff"), 1);
    assert_ptr_equal(itree_find(&tree, SLICE("c"), SLICE("")), &from);
    assert_null(itree_find(&tree, SLICE("c"), SLICE("d")));
    itree_remove(&tree, &from);
    assert_int_equal(count_at(&tree, "d"), 0);
    itree_check(&tree);
}

/* ---- against a plain array ------------------------------------------------------------------- */

#define MODEL_NODES 300

struct model {
    struct itree tree;
    struct itree_node nodes[MODEL_NODES];
    char text[MODEL_NODES][2][3];
    bool is_in[MODEL_NODES];
};

static void model_init(struct model *model)
{
    itree_init(&model->tree);
    for (int i = 0; i < MODEL_NODES; i++) {
        int from = i * 7 % 26;
        int end = i / 12;
        snprintf(model->text[i][0], 3, "%c%c", 'a' + from % 26, 'a' + i % 3);
        snprintf(model->text[i][1], 3, "%s", end == 0 ? "" : "x");
        if (end != 0) {
            snprintf(model->text[i][1], 3, "%c%c", 'a' + end % 26, 'a' + i % 12);
        }
        model->nodes[i] = node_of(model->text[i][0], model->text[i][1]);
        model->is_in[i] = false;
    }
}

static void model_compare(struct model *model)
{
    itree_check(&model->tree);
    for (int c = 0; c < 26; c++) {
        char key[3] = {(char)('a' + c), 'b', 0};
        struct found found = {.count = 0};
        size_t want = 0;
        itree_stab(&model->tree, slice_str(key), note, &found);
        for (int i = 0; i < MODEL_NODES; i++) {
            const struct itree_node *node = &model->nodes[i];
            bool is_inside = model->is_in[i] && slice_cmp(node->from, slice_str(key)) <= 0 &&
                             (node->end.len == 0 || slice_cmp(slice_str(key), node->end) < 0);
            want += is_inside;
        }
        assert_int_equal(found.count, want);
        for (size_t i = 1; i < found.count; i++) {
            assert_true(slice_cmp(found.nodes[i - 1]->from, found.nodes[i]->from) <= 0);
        }
    }
}

TEST(itree, finds_what_an_array_finds_over_ten_thousand_changes)
{
    static struct model model;
    unsigned state = 1;
    model_init(&model);
    for (int step = 0; step < 10000; step++) {
        state = state * 1664525 + 1013904223;
        size_t i = (state >> 8) % MODEL_NODES;
        struct itree_node *node = &model.nodes[i];
        struct itree_node *there = itree_find(&model.tree, node->from, node->end);
        assert_true(!model.is_in[i] || there == node);
        if (model.is_in[i]) {
            itree_remove(&model.tree, node);
            model.is_in[i] = false;
        } else if (there == NULL) { /* some of the intervals are equal */
            itree_insert(&model.tree, node);
            model.is_in[i] = true;
        }
        if (step % 250 == 0) {
            model_compare(&model);
        }
    }
    model_compare(&model);
}

TEST(itree, stays_flat_when_intervals_come_in_order)
{
    enum { COUNT = 4096 };
    static struct itree_node nodes[COUNT];
    static char text[COUNT][8];
    struct itree tree;
    itree_init(&tree);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof(text[i]), "%06d", i);
        nodes[i] = node_of(text[i], "");
        itree_insert(&tree, &nodes[i]);
    }
    itree_check(&tree);
    assert_true(tree.root->height <= 18); /* 1.44 * 12 */
    for (int i = 0; i < COUNT; i++) {
        itree_remove(&tree, &nodes[i]);
    }
    assert_null(tree.root);
}
