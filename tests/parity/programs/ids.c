/* Prints the ids of the user and the group, each real and effective. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
    return 0;
}
