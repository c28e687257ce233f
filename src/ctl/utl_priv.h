/* What etcdutl's commands share, some of them with etcdctl. */
#ifndef CTL_UTL_PRIV_H
#define CTL_UTL_PRIV_H

#include "ctl/ctl_priv.h"

/* etcdutl's only global flag into the printer; the loggers as etcdutl's. CTL_OK, or an exit code
 * after the error has been printed. */
int utl__setup(struct ctl *ctl, const struct command_call *call);

#define UTL_RESTORE_FLAGS 10
extern const struct pflag_spec utl__restore_flags[UTL_RESTORE_FLAGS];
/* The work of `snapshot restore`, of both programs. */
int utl__restore(struct ctl *ctl, const struct command_call *call);
/* The work of `snapshot status`; etcdutl 3.6 tells the storage version too. */
int utl__status(struct ctl *ctl, const struct command_call *call, bool with_version);
/* The work of `defrag --data-dir`. */
int utl__defrag(struct ctl *ctl, const char *data_dir);

command_run_fn utl__defrag_run, utl__hashkv_run;

#endif
