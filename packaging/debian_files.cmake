# What Debian's policy wants beside what is installed anywhere: a compressed man page, and a changelog of the package.
file(GLOB_RECURSE files ${CPACK_TEMPORARY_DIRECTORY}/*)
set(pages ${files})
list(FILTER pages INCLUDE REGEX "/man/man1/[^/]*\\.1$")
foreach(page ${pages})
  execute_process(COMMAND gzip -9nf ${page} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)  # of SOURCE_DATE_EPOCH
foreach(package opt-partition libopt-partition-dev)
  set(copyright ${files})
  list(FILTER copyright INCLUDE REGEX "/doc/${package}/copyright$")
  if(copyright)
    get_filename_component(folder ${copyright} DIRECTORY)
    file(WRITE ${folder}/changelog.Debian
         "opt-partition (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium\n\n  * Version ${CPACK_PACKAGE_VERSION}; see CHANGELOG.md.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${date}\n")
    execute_process(COMMAND gzip -9nf ${folder}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)
  endif()
endforeach()
