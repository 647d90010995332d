"""What a training reads beside the photos, made once before its first step: crops, landmarks, region masks, teacher
answers."""
