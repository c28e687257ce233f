/* Programs that watch and lock run for their users. */
#include "ctl/ctl_priv.h"

#include <stdio.h>

/* ---- environments ------------------------------------------------------------------------ */

struct env_list {
    const char **items;
    size_t count;
};

static bool is_same_name(const char *a, const char *b)
{
    size_t len = strcspn(a, "=");
    return strncmp(a, b, len) == 0 && b[len] == '=';
}

/* As in Go's os/exec, the last of a name wins. */
static void env_add(struct env_list *list, const char *line)
{
    for (size_t i = 0; i < list->count; i++) {
        if (is_same_name(line, list->items[i])) {
            memmove((void *)&list->items[i], (const void *)&list->items[i + 1],
                    (list->count - i - 1) * sizeof(*list->items));
            list->count--;
            break;
        }
    }
    list->items[list->count++] = line;
}

static void env_add_all(struct env_list *list, const char *const *lines)
{
    for (size_t i = 0; lines[i] != NULL; i++) {
        env_add(list, lines[i]);
    }
}

static size_t count_lines(const char *const *lines)
{
    size_t count = 0;
    while (lines[count] != NULL) {
        count++;
    }
    return count;
}

static const char *const *environment_make(struct ctl *ctl, const struct ctl_exec *exec)
{
    struct env_list list = {0};
    size_t most = count_lines(ctl->environment) + count_lines(exec->variables) + 1;
    list.items = mem_array(most, sizeof(*list.items));
    if (exec->inherits_over) {
        env_add_all(&list, exec->variables);
        env_add_all(&list, ctl->environment);
    } else {
        env_add_all(&list, ctl->environment);
        env_add_all(&list, exec->variables);
    }
    list.items[list.count] = NULL;
    return list.items;
}

/* ---- running ----------------------------------------------------------------------------- */

struct run {
    bool is_over;
    int status;
    int signum;
};

static void run_over(void *arg, int status, int signum)
{
    struct run *run = arg;
    run->status = status;
    run->signum = signum;
    run->is_over = true;
}

int ctl__exec(struct ctl *ctl, const struct ctl_exec *exec, struct errbuf *why)
{
    const struct ctl_terminal *terminal = ctl->terminal;
    struct run run = {0};
    if (terminal->run == NULL) {
        errf(why, ERR_UNSUPPORTED, "there are no programs here");
        return CTL_ERROR;
    }
    ctl__flush(ctl);
    const char *const *environment = environment_make(ctl, exec);
    struct ctl_process process = {
        .argv = exec->argv, .environment = environment, .done = run_over, .arg = &run};
    enum err err = terminal->run(terminal->ctx, ctl->env, &process, why);
    if (err == ERR_OK) {
        ctl__wait(ctl, &run.is_over);
    }
    mem_free((void *)(uintptr_t)environment);
    if (err != ERR_OK) {
        return CTL_ERROR;
    }
    if (run.status == 0 && run.signum == 0) {
        return CTL_OK;
    }
    terminal->exit_text(run.status, run.signum, why->text, sizeof(why->text));
    return run.signum == 0 ? run.status : CTL_KILLED;
}
