import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.Map;

/** The JDK's zip file system. */
class ZipFs {
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        Map<String, String> options = new HashMap<>();
        if (!mode.equals("update")) options.put("create", "true");
        if (mode.equals("stored")) options.put("compressionMethod", "STORED");
        if (mode.equals("zip64")) options.put("forceZIP64End", "true");
        URI archive = URI.create("jar:" + Path.of(args[1]).toUri());
        try (FileSystem zip = FileSystems.newFileSystem(archive, options)) {
            for (int i = 2; i < args.length; i++) {
                String name = args[i];
                Path path = zip.getPath(name);
                if (path.getParent() != null) Files.createDirectories(path.getParent());
                if (name.endsWith("/")) Files.createDirectories(path);
                else Files.copy(Path.of(name), path, StandardCopyOption.REPLACE_EXISTING);
            }
            if (mode.equals("update")) Files.delete(zip.getPath(System.getenv("DELETE")));
        }
    }
}
