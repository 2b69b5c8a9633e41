/* storm.c: a module for scripts, of any engine: a signal arrives a thousand times a second, and its handler lets no call of the
   system go on by itself.
     begin()    it begins
     arrived()  how many there were
     finish()   it is over */
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

struct lua_State;
extern void lua_pushnumber(struct lua_State *L, double n);

static volatile sig_atomic_t count;
static struct sigaction before;

static void on_alarm(int signo) {
    (void)signo;
    count++;
}

int begin(struct lua_State *L);
int begin(struct lua_State *L) {
    const struct sigaction act = {.sa_handler = on_alarm}; /* without SA_RESTART */
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    (void)L;
    count = 0;
    sigaction(SIGALRM, &act, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    return 0;
}

int finish(struct lua_State *L);
int finish(struct lua_State *L) {
    const struct itimerval never = {{0, 0}, {0, 0}};
    (void)L;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    return 0;
}

int arrived(struct lua_State *L);
int arrived(struct lua_State *L) {
    lua_pushnumber(L, count);
    return 1;
}
