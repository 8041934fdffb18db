/* Functions that Debian's Lua and cjson call under other names than they were built with: tools/rename_lua.py has the
 * list. They have the parameters of what they stand in for. */
#pragma once

#include <lua.h>
#include <stddef.h>

/* lvm.o: copies of concatenation, comparison of strings, text as a number in arithmetic. */
void *script_vm_copy(void *to, const void *from, size_t size);
int script_vm_compare(const char *a, const char *b);
int script_vm_number(const char *text, lua_Number *ret_number);
int script_vm_print(char *to, int flag, size_t size, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* lstring.o: a string is looked for among those that are there, and made. */
int script_string_compare(const void *a, const void *b, size_t size);
void *script_string_copy(void *to, const void *from, size_t size);
/* ltable.o and ldo.o: the parts of tables; the stack. */
void *script_table_resize(lua_State *L, void *block, size_t old_size, size_t new_size);
void *script_stack_resize(lua_State *L, void *block, size_t old_size, size_t new_size);
/* lapi.o: lua_next. */
int script_table_next(lua_State *L, void *table, void *key);
/* lbaselib.o: coroutine.resume and wrap. */
int script_resume(lua_State *L, int arguments);
/* cjson: its buffers. */
void *script_json_allocate(size_t size);
void *script_json_resize(void *block, size_t size);
void script_json_free(void *block);
double script_json_number(const char *text, char **ret_end);
__attribute__((noreturn)) void script_json_exit(int status);

/* The functions of lobject.o, lmem.o, ltable.o and ldo.o that stand behind. */
int luaO_str2d(const char *text, lua_Number *ret_number);
void *luaM_realloc_(lua_State *L, void *block, size_t old_size, size_t new_size);
int luaH_next(lua_State *L, void *table, void *key);
