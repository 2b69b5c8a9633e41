/* A directory of the test's own, and files in it made without neap. */
#ifndef NEAP_TEST_FILES_H
#define NEAP_TEST_FILES_H

#include "support.h"

/* cmocka's setup and teardown: as nt_setup and nt_teardown, in a new directory that goes with all that is in it. */
int nt_setup_dir(void **state);
int nt_teardown_dir(void **state);

#define NT_TEST_DIR(f) cmocka_unit_test_setup_teardown(f, nt_setup_dir, nt_teardown_dir)

/* The same without a loop. */
int nt_setup_dir_bare(void **state);
#define NT_TEST_DIR_BARE(f) cmocka_unit_test_setup_teardown(f, nt_setup_dir_bare, nt_teardown_dir)

/* "DIR/name", in one of eight static buffers that take turns. */
const char *nt_path(const char *name);

void nt_put_file(const char *name, const void *data, size_t len);

/* The file has exactly these bytes. */
void nt_assert_file(const char *name, const char *text);
int nt_exists(const char *name);
size_t nt_entries(void); /* in the directory */
void nt_empty_dir(void);

/* A path with its length, for calls. */
#define NT_PATH(path) (path), strlen(path)

/* Asserts NEAP_PENDING, runs until the future is done, answers neap_future_error, and ends the reference. */
int32_t nt_done(int32_t code, neap_future **future);

/* Likewise, and the future stays. */
int32_t nt_await(int32_t code, neap_future *future);

/* An open file. */
neap_file *nt_open(const char *name, uint32_t how);

/* Closes it, and ends the reference. */
void nt_close(neap_file *file);

/* Reads, now or later, what must be this text. */
void nt_assert_read(neap_file *file, size_t len, const char *text);

#endif
