/* Shell completion, in two halves that know nothing of each other but this protocol (cobra's, so
 * that scripts made by a Go etcdctl work with this program too):
 *
 *   etcdctl __complete <words before> <word being typed>
 *       prints one candidate a line, "name<TAB>description", and ":<directive>" at the end.
 *       Directives: 0 file names are fine too; 4 nothing else is.
 *
 * The scripts ask the program and hand the answer to their shell. */
#include "ctl/command.h"

#include "base/mem.h"

#define DIRECTIVE_DEFAULT 0
#define DIRECTIVE_NO_FILES 4

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void offer(const char *word, const char *summary, const char *typed, struct buf *out)
{
    if (starts_with(word, typed)) {
        buf_append_str(out, word);
        if (summary != NULL && summary[0] != 0) {
            buf_printf(out, "\t%s", summary);
        }
        buf_append_byte(out, '\n');
    }
}

static void offer_flags(const struct pflag_set *flags, const char *typed, struct buf *out)
{
    struct buf word = {0};
    for (size_t i = 0; i < pflag_count(flags); i++) {
        const struct pflag_spec *spec = pflag_at(flags, i)->spec;
        buf_reset(&word);
        buf_printf(&word, "--%s", spec->name);
        offer(buf_cstr(&word), spec->usage, typed, out);
        if (spec->shorthand != 0) {
            buf_reset(&word);
            buf_printf(&word, "-%c", spec->shorthand);
            offer(buf_cstr(&word), spec->usage, typed, out);
        }
    }
    buf_fini(&word);
}

/* The flag whose value is being typed, or NULL. *typed moves behind "--flag=". */
static const struct pflag *open_flag(const struct pflag_set *flags, const char *previous,
                                     const char **typed)
{
    const char *equals = strchr(*typed, '=');
    if (starts_with(*typed, "--") && equals != NULL) {
        const struct pflag *flag =
            pflag_find(flags, slice_of(*typed + 2, (size_t)(equals - *typed) - 2));
        *typed = flag == NULL ? *typed : equals + 1;
        return flag;
    }
    const struct pflag *flag = NULL;
    if (starts_with(previous, "--")) {
        flag = pflag_find(flags, slice_str(previous + 2));
    } else if (previous[0] == '-' && previous[1] != 0 && previous[2] == 0) {
        flag = pflag_find_short(flags, previous[1]);
    }
    return flag == NULL || pflag_value_optional(flag->spec) ? NULL : flag;
}

static void offer_children(const struct command *parent, const char *typed, struct buf *out)
{
    const struct command *child = NULL;
    while ((child = command_next_child(parent, child)) != NULL) {
        if (!child->is_hidden) {
            offer(child->name, child->summary, typed, out);
        }
    }
}

static int complete(const struct command_path *path, const char *const *rest, size_t rest_count,
                    const char *typed, struct buf *out)
{
    const struct command *command = command_of(path);
    struct pflag_set *flags = command_flags(path, true);
    const char *previous = rest_count == 0 ? "" : rest[rest_count - 1];
    const struct pflag *flag = open_flag(flags, previous, &typed);
    int directive = DIRECTIVE_DEFAULT;
    if (flag != NULL) {
        for (size_t i = 0; flag->spec->choices != NULL && flag->spec->choices[i] != NULL; i++) {
            offer(flag->spec->choices[i], NULL, typed, out);
        }
        directive = flag->spec->choices == NULL ? DIRECTIVE_DEFAULT : DIRECTIVE_NO_FILES;
    } else if (typed[0] == '-') {
        offer_flags(flags, typed, out);
        directive = DIRECTIVE_NO_FILES;
    } else if (command->child_count > 0) {
        offer_children(command, typed, out);
        directive = DIRECTIVE_NO_FILES;
    } else if (command->words != NULL) {
        for (size_t i = 0; rest_count == 0 && command->words[i] != NULL; i++) {
            offer(command->words[i], NULL, typed, out);
        }
        directive = DIRECTIVE_NO_FILES;
    }
    pflag_set_free(&flags);
    return directive;
}

int command_complete_run(const struct command_call *call)
{
    const struct command_program *program = call->program;
    size_t count = call->raw_count == 0 ? 0 : call->raw_count - 1;
    const char *typed = call->raw_count == 0 ? "" : call->raw_args[count];
    const char **rest = mem_array(count + 1, sizeof(*rest));
    size_t rest_count = 0;
    struct command_path path;
    struct buf out = {0};
    struct buf why = {0};
    /* An unknown command has no completions; nor has an empty line of words an error. */
    int directive = DIRECTIVE_DEFAULT;
    if (command_find(program->root, call->raw_args, count, &path, rest, &rest_count, &why) ==
        ERR_OK) {
        directive = complete(&path, rest, rest_count, typed, &out);
    }
    buf_printf(&out, ":%d\n", directive);
    program->print(program->ctx, buf_slice(&out));
    buf_fini(&why);
    buf_fini(&out);
    mem_free((void *)rest);
    return COMMAND_EXIT_OK;
}

/* ---- scripts: %P is the program's name --------------------------------------------------- */

static const char bash_script[] =
    "# bash completion for %P\n"
    "\n"
    "_%P_complete()\n"
    "{\n"
    "    local typed=\"${COMP_WORDS[COMP_CWORD]}\" answer directive line\n"
    "    # Bash takes '=' and ':' for words of their own: ask with the line as it was typed.\n"
    "    local -a words\n"
    "    read -r -a words <<< \"${COMP_LINE:0:COMP_POINT}\"\n"
    "    [[ \"${COMP_LINE:0:COMP_POINT}\" == *[[:space:]] ]] && words+=(\"\")\n"
    "    local last=\"${words[${#words[@]}-1]}\"\n"
    "    answer=\"$(\"${words[0]}\" __complete \"${words[@]:1}\" 2>/dev/null)\" || return\n"
    "    directive=\"${answer##*:}\"\n"
    "    answer=\"${answer%:*}\"\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        line=\"${line%%$'\\t'*}\"\n"
    "        [[ -n \"$line\" ]] && COMPREPLY+=(\"$line\")\n"
    "    done <<< \"$answer\"\n"
    "    if [[ \"$last\" == --*=* && ${#COMPREPLY[@]} -eq 0 ]]; then\n"
    "        typed=\"${last#*=}\"\n"
    "    fi\n"
    "    if [[ ${#COMPREPLY[@]} -eq 0 && \"$directive\" != 4 ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        while IFS= read -r line; do\n"
    "            COMPREPLY+=(\"$line\")\n"
    "        done < <(compgen -f -- \"$typed\")\n"
    "    fi\n"
    "}\n"
    "\n"
    "complete -F _%P_complete %P\n";

static const char zsh_script[] = "#compdef %P\n"
                                 "compdef _%P %P\n"
                                 "\n"
                                 "# zsh completion for %P\n"
                                 "\n"
                                 "_%P()\n"
                                 "{\n"
                                 "    local answer directive line name text\n"
                                 "    local -a candidates\n"
                                 "    answer=\"$(\"${words[1]}\" __complete "
                                 "\"${(@)words[2,CURRENT]}\" 2>/dev/null)\" || return\n"
                                 "    directive=\"${answer##*:}\"\n"
                                 "    answer=\"${answer%:*}\"\n"
                                 "    while IFS= read -r line; do\n"
                                 "        [[ -z \"$line\" ]] && continue\n"
                                 "        name=\"${line%%$'\\t'*}\"\n"
                                 "        text=\"\"\n"
                                 "        [[ \"$line\" == *$'\\t'* ]] && text=\"${line#*$'\\t'}\"\n"
                                 "        candidates+=(\"${name//:/\\\\:}${text:+:$text}\")\n"
                                 "    done <<< \"$answer\"\n"
                                 "    if (( ${#candidates} )); then\n"
                                 "        _describe 'completions' candidates\n"
                                 "    elif [[ \"$directive\" != 4 ]]; then\n"
                                 "        _files\n"
                                 "    fi\n"
                                 "}\n"
                                 "\n"
                                 "# When sourced, do not run; when autoloaded, do.\n"
                                 "if [ \"$funcstack[1]\" = \"_%P\" ]; then\n"
                                 "    _%P\n"
                                 "fi\n";

static const char fish_script[] =
    "# fish completion for %P\n"
    "\n"
    "function __%P_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l typed (commandline -ct)\n"
    "    set -l answer ($words[1] __complete $words[2..-1] \"$typed\" 2>/dev/null)\n"
    "    set -l directive $answer[-1]\n"
    "    set -l candidates $answer[1..-2]\n"
    "    if test (count $answer) -gt 1\n"
    "        printf '%s\\n' $candidates\n"
    "    else if test \"$directive\" != \":4\"\n"
    "        __fish_complete_path \"$typed\"\n"
    "    end\n"
    "end\n"
    "\n"
    "complete -c %P -e\n"
    "complete -c %P -f -a '(__%P_complete)'\n";

static const char powershell_script[] =
    "# powershell completion for %P\n"
    "\n"
    "Register-ArgumentCompleter -Native -CommandName '%P' -ScriptBlock {\n"
    "    param($typed, $ast, $position)\n"
    "    $words = @($ast.CommandElements | Where-Object { $_.Extent.StartOffset -lt $position } |\n"
    "        ForEach-Object { $_.ToString() })\n"
    "    $program = $words[0]\n"
    "    $before = @($words | Select-Object -Skip 1)\n"
    "    if ($typed -ne '' -and $before.Count -gt 0) {\n"
    "        $before = @($before | Select-Object -SkipLast 1)\n"
    "    }\n"
    "    # An empty argument has to be quoted twice to reach a program.\n"
    "    $last = if ($typed -eq '') { '\"\"' } else { $typed }\n"
    "    $answer = @(& $program __complete @before $last 2>$null)\n"
    "    foreach ($line in $answer) {\n"
    "        if ($line -eq '' -or $line.StartsWith(':')) { continue }\n"
    "        $parts = $line.Split(\"`t\", 2)\n"
    "        $text = if ($parts.Count -gt 1 -and $parts[1] -ne '') { $parts[1] } else { $parts[0] "
    "}\n"
    "        [System.Management.Automation.CompletionResult]::new(\n"
    "            $parts[0], $parts[0], 'ParameterValue', $text)\n"
    "    }\n"
    "}\n";

static const struct {
    const char *shell;
    const char *text;
} scripts[] = {
    {"bash", bash_script},
    {"zsh", zsh_script},
    {"fish", fish_script},
    {"powershell", powershell_script},
};

enum err command_completion_script(const char *program, const char *shell, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        if (strcmp(scripts[i].shell, shell) != 0) {
            continue;
        }
        const char *text = scripts[i].text;
        for (const char *mark = strstr(text, "%P"); mark != NULL; mark = strstr(text, "%P")) {
            buf_append(out, text, (size_t)(mark - text));
            buf_append_str(out, program);
            text = mark + 2;
        }
        buf_append_str(out, text);
        return ERR_OK;
    }
    return ERR_UNSUPPORTED;
}
