/* version, completion. */
#include "ctl/ctl_priv.h"

#include "base/gotext.h"

int ctl__version_run(const struct command_call *call)
{
    buf_printf(&ctl_of(call)->out, "etcdctl version: %s\nAPI version: %s\n", CTL_VERSION,
               CTL_API_VERSION);
    return CTL_OK;
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(*words, word) == 0) {
            return true;
        }
    }
    return false;
}

enum err ctl__completion_args(const struct command_call *call, struct buf *why)
{
    size_t count = pflag_narg(call->flags);
    if (count != 1) {
        buf_printf(why, "accepts 1 arg(s), received %zu", count);
        return ERR_INVALID;
    }
    const char *shell = pflag_arg(call->flags, 0);
    if (!is_one_of(shell, command_of(call->path)->words)) {
        buf_append_str(why, "invalid argument ");
        go_quote(slice_str(shell), why);
        buf_append_str(why, " for \"");
        command_name(call->path, why);
        buf_append_byte(why, '"');
        return ERR_INVALID;
    }
    return ERR_OK;
}

int ctl__completion_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    enum err err =
        command_completion_script(call->path->steps[0]->name, pflag_arg(call->flags, 0), &ctl->out);
    ASSERT(err == ERR_OK); /* ctl__completion_args() let it pass */
    return CTL_OK;
}
