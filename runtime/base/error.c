/* error.c: the one table of codes: C name, the word that scripts see, a sentence. */
#include <string.h>

#include "base/base.h"

typedef struct code_entry {
    int32_t code;
    const char *name;
    const char *word;
    const char *text;
} code_entry;

/* neap's own, densely numbered from NEAP_PENDING downwards. */
static const code_entry own[] = {
    {NEAP_PENDING, "PENDING", "in_progress", "the result will come through the future"},
    {NEAP_ECLOSED, "ECLOSED", "closed", "the object was closed"},
    {NEAP_ELOOP_CLOSED, "ELOOP_CLOSED", "loop_closed", "the loop was closed"},
    {NEAP_EWRONGTHREAD, "EWRONGTHREAD", "wrong_thread",
     "called from a thread that is not the loop's"},
    {NEAP_EREENTRANT, "EREENTRANT", "reentrant",
     "the loop cannot be run from inside its own callbacks"},
    {NEAP_EFORKED, "EFORKED", "forked", "the loop belongs to the parent process"},
    {NEAP_ELOOP_RUNNING, "ELOOP_RUNNING", "loop_running", "the loop is running"},
    {NEAP_EOTHER_LOOP_RUNNING, "EOTHER_LOOP_RUNNING", "other_loop_running",
     "another loop is running here"},
    {NEAP_ESTOPPED_EARLY, "ESTOPPED_EARLY", "stopped_early",
     "the loop was stopped before the future was done"},
    {NEAP_EDEADLOCK, "EDEADLOCK", "deadlock", "nothing can ever wake what is waited for"},
    {NEAP_EPENDING, "EPENDING", "pending", "the future has no outcome yet"},
    {NEAP_EINVALID_STATE, "EINVALID_STATE", "invalid_state",
     "the object is not in a state for this"},
    {NEAP_ETYPE, "ETYPE", "type_error", "a value of another type is needed"},
    {NEAP_EVALUE, "EVALUE", "value_error", "the value makes no sense here"},
    {NEAP_ETIMEOUT, "ETIMEOUT", "timeout", "the time is over"},
    {NEAP_ETASK_OWNED, "ETASK_OWNED", "task_owned", "only the task itself settles its future"},
    {NEAP_EOTHER_LOOP, "EOTHER_LOOP", "other_loop", "the object belongs to another loop"},
    {NEAP_EAWAIT_SELF, "EAWAIT_SELF", "await_self", "a task cannot await itself"},
    {NEAP_EAWAIT_NOT_DONE, "EAWAIT_NOT_DONE", "await_not_done",
     "resumed before the awaited future was done"},
    {NEAP_EBAD_YIELD, "EBAD_YIELD", "bad_yield",
     "a task yielded something that cannot be waited for"},
    {NEAP_EBUSY_FD, "EBUSY_FD", "busy_fd", "another waiter has this descriptor and direction"},
    {NEAP_ENO_LOOP, "ENO_LOOP", "no_loop", "no loop is running"},
    {NEAP_ENO_TASK, "ENO_TASK", "no_task", "waiting is possible only inside a task"},
    {NEAP_EALREADY_OWNED, "EALREADY_OWNED", "already_owned",
     "the coroutine belongs to a task already"},
    {NEAP_EFOREIGN, "EFOREIGN", "error", "an exception of another language"},
    {NEAP_EGROUP, "EGROUP", "group", "one or more of several failed"},
    {NEAP_ENAME, "ENAME", "no_resolver", "host names are not resolved: give a numeric address"},
    {NEAP_ENO_YIELD, "ENO_YIELD", "no_yield", "a wait below a function that cannot be suspended"},
    {NEAP_ECORRUPT, "ECORRUPT", "corrupt", "an invariant broke; the loop refuses further work"},
    {NEAP_EINCOMPLETE, "EINCOMPLETE", "incomplete", "the end came before all that was wanted"},
    {NEAP_ELIMIT, "ELIMIT", "limit", "the limit came before the delimiter or the end"},
    {NEAP_ENAME_BAD, "ENAME_BAD", "bad_name",
     "not a host name: these have up to 253 bytes in labels of 1 to 63, no spaces, colons or "
     "slashes, and do not end in a number"},
    {NEAP_ENAME_NOT_FOUND, "ENAME_NOT_FOUND", "name_not_found", "no such name"},
    {NEAP_ENAME_NO_ADDRESS, "ENAME_NO_ADDRESS", "no_address",
     "the name has no address of the family that was asked for"},
    {NEAP_ENAME_TEMPORARY, "ENAME_TEMPORARY", "temporary_failure",
     "no name server has answered properly"},
    {NEAP_ENAME_FAILED, "ENAME_FAILED", "resolver_failure",
     "the answer of the name server makes no sense"},
    {NEAP_ESERVICE_NOT_FOUND, "ESERVICE_NOT_FOUND", "service_not_found", "no such service"},
};

static const code_entry special[] = {
    {NEAP_OK, "OK", "ok", "success"},
    {NEAP_ECANCELED, "ECANCELED", "cancelled", "cancelled"},
    {NEAP_ENOTSUP, "ENOTSUP", "ENOTSUP",
     "Operation not supported"}, /* the system says EOPNOTSUPP */
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

_Static_assert(COUNT(own) == NEAP_PENDING - NEAP_ESERVICE_NOT_FOUND + 1,
               "every own code has its row");

static const code_entry *find(int32_t code) {
    if (code <= NEAP_PENDING && code >= NEAP_ESERVICE_NOT_FOUND)
        return &own[NEAP_PENDING - code];
    for (size_t i = 0; i < COUNT(special); i++)
        if (special[i].code == code)
            return &special[i];
    return NULL;
}

const char *neap_strerror(int32_t code) {
    const code_entry *e = find(code);
    if (e != NULL)
        return e->text;
    const char *text = code < 0 && code > -4000 ? strerrordesc_np(-code) : NULL;
    return text != NULL ? text : "unknown error";
}

const char *neap_err_name(int32_t code) {
    const code_entry *e = find(code);
    if (e != NULL)
        return e->name;
    const char *name = code < 0 && code > -4000 ? strerrorname_np(-code) : NULL;
    return name != NULL ? name : "UNKNOWN";
}

const char *neap_err_word(int32_t code) {
    const code_entry *e = find(code);
    return e != NULL ? e->word : neap_err_name(code);
}
