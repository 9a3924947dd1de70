/* Debian's libunwind is compiled with glibc's checked printf; musl has no function of this name. */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *to, int flag, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int written = vfprintf(to, format, arguments);
    va_end(arguments);
    return written;
}
