/* Functions that Debian's Lua and cjson call under other names than they were built with: tools/rename_lua.py has the
 * list. They have the parameters of what they stand in for. */
#pragma once

#include <lua.h>
#include <stddef.h>
#include <stdio.h>

/* lvm.o: copies of concatenation, comparison of strings, text as a number in arithmetic, powers. */
void *script_vm_copy(void *to, const void *from, size_t size);
int script_vm_compare(const char *a, const char *b);
int script_vm_number(const char *text, lua_Number *ret_number);
double script_vm_power(double base, double exponent);
/* sprintf of lvm.o and lstrlib.o; snprintf of cjson */
int script_print(char *to, int flag, size_t size, const char *format, ...) __attribute__((format(printf, 4, 5)));
int script_json_print(char *to, size_t size, int flag, size_t room, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* lmathlib.o */
double script_fmod(double of, double by);
/* lstring.o: a string is looked for among those that are there, and made. */
int script_string_compare(const void *a, const void *b, size_t size);
void *script_string_copy(void *to, const void *from, size_t size);
/* ltable.o: the parts of tables. */
void *script_table_resize(lua_State *L, void *block, size_t old_size, size_t new_size);
/* All that reach for tables, strings and upvalues (walks.c). `key` is a value; a place of the table comes back. */
const void *script_table_get(void *table, const void *key);
const void *script_table_get_text(void *table, void *text);
const void *script_table_get_number(void *table, int number);
void *script_table_set(lua_State *L, void *table, const void *key);
void *script_table_set_text(lua_State *L, void *table, void *text);
void *script_table_set_number(lua_State *L, void *table, int number);
void *script_table_new(lua_State *L, int array, int nodes);
void script_table_resize_array(lua_State *L, void *table, int size);
int script_table_border(void *table);
void *script_text_new(lua_State *L, const char *bytes, size_t size);
void *script_find_upvalue(lua_State *L, void *level);
/* lvm.o and lapi.o: calls, by what they copy; names for messages (calls.c). */
int script_vm_call(lua_State *L, void *function, int results);
int script_vm_return(lua_State *L, void *first);
void script_call(lua_State *L, void *function, int results);
void script_type_error(lua_State *L, const void *value, const char *what);
void script_arithmetic_error(lua_State *L, const void *a, const void *b);
int script_get_info(lua_State *L, const char *what, lua_Debug *info);
/* lapi.o: lua_next. */
int script_table_next(lua_State *L, void *table, void *key);
/* lbaselib.o: coroutine.resume and wrap. */
int script_resume(lua_State *L, int arguments);
/* cjson: its buffers. */
void *script_json_allocate(size_t size);
void *script_json_resize(void *block, size_t size);
void script_json_free(void *block);
const char *script_json_text(lua_State *L, int index, size_t *ret_size);
const char *script_json_input(lua_State *L, int index, size_t *ret_size);
double script_json_number(const char *text, char **ret_end);
__attribute__((noreturn)) void script_json_exit(int status);

/* Lua's and cjson's stdin, stdout and stderr, for what scripts cannot reach: print, files, their last words. */
extern FILE *script_stdin, *script_stdout, *script_stderr;

/* The functions of Lua that stand behind. */
int luaO_str2d(const char *text, lua_Number *ret_number);
void *luaM_realloc_(lua_State *L, void *block, size_t old_size, size_t new_size);
int luaH_next(lua_State *L, void *table, void *key);
void *luaH_set(lua_State *L, void *table, const void *key);
void *luaH_setstr(lua_State *L, void *table, void *text);
void *luaH_setnum(lua_State *L, void *table, int number);
void *luaH_new(lua_State *L, int array, int nodes);
void luaH_resizearray(lua_State *L, void *table, int size);
int luaH_getn(void *table);
void *luaS_newlstr(lua_State *L, const char *bytes, size_t size);
void *luaF_findupval(lua_State *L, void *level);
int luaD_precall(lua_State *L, void *function, int results);
int luaD_poscall(lua_State *L, void *first);
void luaD_call(lua_State *L, void *function, int results);
void luaG_typeerror(lua_State *L, const void *value, const char *what);
void luaG_aritherror(lua_State *L, const void *a, const void *b);
double Sleef_cinz_powd1_u10purec(double base, double exponent);
